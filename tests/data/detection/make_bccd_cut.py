"""Makes bccd/ from the BCCD data set: 20 pictures at a quarter of their width and height, boxes with them.  Needs Pillow.

    python tests/data/detection/make_bccd_cut.py path/of/bccd
"""
import re
import sys
from pathlib import Path

from PIL import Image

PARTS, FACTOR = {"train": 12, "val": 4, "test": 4}, 4
DAMAGED = "BloodImage_00343"            # has a degenerate box


def main(source, out):
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    for part, count in PARTS.items():
        names = (source / "ImageSets/Main" / f"{part}.txt").read_text().split()[:count]
        if part == "train":
            names[-1] = DAMAGED
        (out / "ImageSets/Main" / f"{part}.txt").write_text("".join(f"{name}\n" for name in names))
        for name in names:
            picture = Image.open(source / "JPEGImages" / f"{name}.jpg")
            small = picture.resize((picture.width // FACTOR, picture.height // FACTOR), Image.Resampling.BOX)
            small.save(out / "JPEGImages" / f"{name}.jpg", quality=80)
            text = (source / "Annotations" / f"{name}.xml").read_text()
            objects = "".join(one(o) for o in re.findall(r"<object>.*?</object>", text, re.DOTALL))
            (out / "Annotations" / f"{name}.xml").write_text(f"<annotation>\n{objects}</annotation>\n")


def one(text):
    def value(key):
        return re.search(rf"<{key}>(.*?)</{key}>", text)[1]
    corners = "".join(f"<{key}>{int(value(key)) / FACTOR:g}</{key}>" for key in ("xmin", "ymin", "xmax", "ymax"))
    return f"<object><name>{value('name')}</name><bndbox>{corners}</bndbox></object>\n"


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(__file__).parent / "bccd")
