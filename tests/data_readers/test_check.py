"""`data check`: each finding is provoked, and a clean set has none."""
from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from dlcore.data.findings import CODES
from dlcore.data.inspect import check, kind_of, show
from dlcore.errors import DataError

WORDS = ["red", "green", "blue", "small", "large", "quick", "slow", "old", "new", "round"]


def sentence(i):
    return " ".join(WORDS[(i * k + k) % 10] for k in range(1, 5)) + f" number{i}"


def rows(first, count, labels=("yes", "no")):
    return [(sentence(i), labels[i % len(labels)]) for i in range(first, first + count)]


def write(path, rows, head="text,label"):
    path.write_text(head + "\n" + "".join(",".join('"' + cell.replace('"', '""') + '"' for cell in row) + "\n" for row in rows))
    return str(path)


def found(report):
    return {f.code: f for f in report.findings}


def test_a_clean_set_has_no_findings(tmp_path):
    train, val = write(tmp_path / "train.csv", rows(0, 100)), write(tmp_path / "val.csv", rows(100, 50))
    report = check({"train": train, "val": val})
    assert set(found(report)) <= {"DL-D17"}         # the numbers are new words
    assert report.summary["train"]["classes"] == {"no": 50, "yes": 50} and report.errors == 0
    assert report.summary["train"]["length"] == {"p50": 5, "p95": 5, "max": 5, "limit": 50, "beyond": 0}
    assert "100 rows" in report.lines[0] and "text ← 'text'" in report.lines[0]


def test_leakage_and_conflicts_between_parts(tmp_path):
    train = write(tmp_path / "train.csv", rows(0, 100))
    val = write(tmp_path / "val.csv", [*rows(100, 40), (sentence(3), "no"), (sentence(8), "no"), (sentence(5), "maybe")])
    report = found(check({"train": train, "val": val}))
    assert report["DL-D12"].severity == "error" and list(report["DL-D12"].rows) == [42, 43, 44]
    assert report["DL-D11"].severity == "error" and list(report["DL-D11"].rows) == [43, 44]
    assert report["DL-D11"].message == "2 texts appear in train and val with different labels"
    assert list(report["DL-D14"].rows) == [44] and "maybe" in report["DL-D14"].message


def test_findings_of_one_part(tmp_path):
    some = [*rows(0, 60), (sentence(4), "no"), (sentence(6), "yes"), (sentence(7).upper() + "!", "yes"), ("", "yes"),
            ("words here now", ""), ("long " * 400, "yes"), ("a rare one of these", "never")]
    report = found(check({"train": write(tmp_path / "t.csv", some)}))
    assert list(report["DL-D06"].rows) == [62, 63] and report["DL-D06"].severity == "warning"
    assert list(report["DL-D13"].rows) == [6, 62]
    assert list(report["DL-D10"].rows) == [64] and list(report["DL-D04"].rows) == [65]
    assert list(report["DL-D05"].rows) == [66] and report["DL-D05"].severity == "error"
    assert list(report["DL-D09"].rows) == [67] and "label 'never' has 1 row" in report["DL-D07"].message
    assert "400 words" in report["DL-D09"].samples[0]
    limited = found(check({"train": write(tmp_path / "t.csv", some)}, max_len=4))["DL-D09"]
    assert limited.severity == "warning" and limited.count > 60


def test_bytes_that_are_no_text_and_rows_of_another_width(tmp_path):
    path = tmp_path / "t.csv"
    lines = [f"{a},{b}" for a, b in rows(0, 50)]
    lines[10], lines[20], lines[30] = "caf\xe9,yes", "one,two,three", "alone"
    path.write_bytes(b"text,label\n" + "\n".join(lines).encode("latin1") + b"\n")
    report = check({"train": str(path)})
    assert list(found(report)["DL-D02"].rows) == [12] and "caf" in found(report)["DL-D02"].samples[0]
    assert list(found(report)["DL-D03"].rows) == [22, 32]
    assert report.errors == 2 and report.summary["train"]["rows"] == 48
    path.write_text('text,label\n"never closed,yes\n')
    assert check({"train": str(path)}).errors == 1


def test_tables_of_numbers(tmp_path):
    body = [(str(i), "7", "" if i % 3 else str(i * 2), "x" if i == 9 else str(i % 4), "ab"[i % 2]) for i in range(60)]
    train = write(tmp_path / "t.csv", [*body, body[5]], "size,same,gaps,mixed,label")
    test = write(tmp_path / "u.csv", [(r[0] + "0", *r[1:3], r[4]) for r in body], "size,same,gaps,label")
    report = found(check({"train": train, "test": test}))
    assert "'same' has one value only" in report["DL-D15"].message
    assert list(report["DL-D16"].rows) == [11] and list(report["DL-D06"].rows) == [62]
    assert report["DL-D18"].severity == "error" and "'mixed'" in report["DL-D18"].message
    one = found(check({"train": write(tmp_path / "v.csv", [(str(i), "a") for i in range(30)], "size,label")}))
    assert one["DL-D08"].severity == "error"
    many = [(str(i), "b" if i == 7 else "a") for i in range(90)]
    assert found(check({"train": write(tmp_path / "w.csv", many, "size,label")}))["DL-D08"].severity == "warning"


def test_every_code_of_tables_is_explained():
    assert len(set(CODES.values())) == len(CODES) and all(code.startswith("DL-D") for code in CODES)


# ---- pictures -------------------------------------------------------------------------------------------------------
def pictures(root, count=25, first=0, classes=("cat", "dog")):
    for label in classes:
        (root / label).mkdir(parents=True, exist_ok=True)
        for i in range(first, first + count):
            pixels = np.random.default_rng([i, len(label), ord(label[0])]).integers(0, 256, (8, 6, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / label / f"{i}.png")
    return root


def test_a_folder_of_pictures(tmp_path):
    root = pictures(tmp_path / "train")
    assert check({"train": str(root)}).findings == [] and kind_of(str(root)) == "pictures"
    (root / "dog" / "3.png").write_bytes((root / "dog" / "3.png").read_bytes()[:60])
    (root / "dog" / "90.png").write_bytes((root / "cat" / "5.png").read_bytes())
    (root / "bird").mkdir()
    Image.new("RGB", (20, 10), (9, 9, 9)).save(root / "cat" / "plain.png")
    Image.fromarray(np.arange(48, dtype=np.uint16).reshape(8, 6) * 999).save(root / "cat" / "sixteen.png")
    report = found(check({"train": str(root)}))
    assert list(report["DL-D20"].rows) == [str(root / "dog" / "3.png")] and report["DL-D20"].severity == "error"
    assert list(report["DL-D21"].rows) == ["bird"] and list(report["DL-D22"].rows) == [str(root / "cat" / "plain.png")]
    assert report["DL-D22"].samples == ["10x20"] and list(report["DL-D23"].rows) == [str(root / "cat" / "plain.png")]
    assert list(report["DL-D24"].rows) == [str(root / "cat" / "sixteen.png")]
    assert list(report["DL-D06"].rows) == list(report["DL-D13"].rows) == [str(root / "dog" / "90.png")]


def test_pictures_in_two_parts(tmp_path):
    pictures(tmp_path / "d" / "train")
    pictures(tmp_path / "d" / "test", 3, first=100, classes=("cat", "dog", "fox"))
    (tmp_path / "d" / "test" / "dog" / "leak.png").write_bytes((tmp_path / "d" / "train" / "dog" / "1.png").read_bytes())
    (tmp_path / "d" / "test" / "dog" / "wrong.png").write_bytes((tmp_path / "d" / "train" / "cat" / "1.png").read_bytes())
    report = check({"train": str(tmp_path / "d")})
    assert [len(f.rows) for f in report.findings if f.code == "DL-D12"] == [2]
    assert [len(f.rows) for f in report.findings if f.code == "DL-D11"] == [1]
    assert "fox" in found(report)["DL-D14"].message and report.summary["test"]["sizes"] == {"8x6": 11}


# ---- pictures with boxes --------------------------------------------------------------------------------------------
def voc(root, name, boxes, size=(40, 30), seed=None):
    """A picture (width, height) of noise and its annotation; boxes: (class, corners)."""
    for folder in ("Annotations", "JPEGImages"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(len(name) if seed is None else seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(root / "JPEGImages" / f"{name}.png")
    keys = "xmin", "ymin", "xmax", "ymax"
    rows = "".join(f"<object><name>{label}</name><bndbox>" + "".join(f"<{k}>{v}</{k}>" for k, v in zip(keys, box, strict=True))
                   + "</bndbox></object>" for label, box in boxes)
    (root / "Annotations" / f"{name}.xml").write_text(f"<annotation>{rows}</annotation>")


def clean_voc(root, count=25):
    (root / "ImageSets" / "Main").mkdir(parents=True)
    for i in range(count):
        voc(root, f"p{i}", [("cat", (1, 2, 9, 9)), ("dog", (10, 10, 20, 20))], seed=i)
    (root / "ImageSets" / "Main" / "train.txt").write_text("".join(f"p{i}\n" for i in range(count)))
    return root


def test_a_data_set_of_boxes(tmp_path):
    root = clean_voc(tmp_path / "voc")
    report = check({"train": str(root)})
    assert kind_of(str(root)) == "boxes" and report.findings == []
    assert report.summary["train"]["classes"] == {"cat": 25, "dog": 25} and report.summary["train"]["boxes"] == 50
    voc(root, "p3", [("cat", (-5, 2, 9, 9)), ("cat", (50, 1, 60, 9)), ("dog", (7, 7, 7, 9)), ("fox", (1, 1, 9, 9))], seed=3)
    (root / "JPEGImages" / "p4.png").unlink()
    (root / "JPEGImages" / "p5.png").write_bytes((root / "JPEGImages" / "p5.png").read_bytes()[:300])
    (root / "JPEGImages" / "p6.png").write_bytes((root / "JPEGImages" / "p7.png").read_bytes())
    (root / "Annotations" / "p8.xml").unlink()
    for i, part in ((1, "val"), (2, "test")):
        voc(root, part, [("cat", (1, 1, 9, 9)), ("owl", (1, 1, 9, 9))], seed=i if part == "val" else 99)
        (root / "ImageSets" / "Main" / f"{part}.txt").write_text(part)
    report = check({"train": str(root)})
    of = {}
    for one in report.findings:
        of.setdefault(one.code, []).append(one)
    places = {code: str(of[code][0].rows[0]).removeprefix(str(root)) for code in of if of[code][0].rows}
    assert {code: places[code] for code in sorted(places)} == {
        "DL-D06": "/JPEGImages/p7.png", "DL-D12": "/JPEGImages/val.png", "DL-D20": "/JPEGImages/p5.png",
        "DL-D25": "/Annotations/p3.xml, object 2", "DL-D26": "/Annotations/p3.xml, object 3",
        "DL-D27": "/Annotations/p3.xml, object 1", "DL-D28": "/Annotations/p4.xml", "DL-D29": "/JPEGImages/p8.png",
        "DL-D30": "/Annotations/val.xml, object 2"}
    assert "'fox' has 1 box" in of["DL-D07"][-1].message and of["DL-D25"][0].samples == ["(50, 1, 60, 9)"]
    assert report.errors == 2 and len(of["DL-D30"]) == 2 and set(report.summary) == {"train", "val", "test"}
    (root / "Annotations" / "p9.xml").write_text("<annotation>")
    report = check({"train": str(root)})
    assert report.findings[0].code == "DL-D03" and "p9.xml" in report.findings[0].rows[0] and report.errors == 1


def test_coco_and_yolo_are_data_sets_of_boxes(tmp_path):
    folder = tmp_path / "coco"
    folder.mkdir()
    Image.new("RGB", (20, 10), "red").save(folder / "a.png")
    content = {"info": {}, "images": [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "gone.png"}],
               "categories": [{"id": 1, "name": "x"}, {"id": 2, "name": "y"}],
               "annotations": [{"id": i, "image_id": i, "category_id": 1, "bbox": [1, 1, 5, 5]} for i in (1, 2)]}
    (folder / "train.json").write_text(json.dumps(content))
    for source in (folder, folder / "train.json"):
        report = found(check({"train": str(source)}))
        assert report["DL-D28"].severity == "error" and report["DL-D28"].rows == [str(folder / "gone.png")]
        assert "'y' has no box" in report["DL-D07"].message
    yolo = tmp_path / "yolo"
    for part in ("train", "val"):
        (yolo / "images" / part).mkdir(parents=True)
        (yolo / "labels" / part).mkdir(parents=True)
        Image.new("RGB", (20, 10), part == "val" and "red" or "blue").save(yolo / "images" / part / "a.png")
        (yolo / "labels" / part / "a.txt").write_text("1 0.5 0.5 0.2 0.2\n7 0.5 0.5 0.2 0.2\n")
    (yolo / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [x, y]\n")
    shown = show(str(yolo), 0)
    assert shown["classes"] == {"train": {"y": 1}, "val": {"y": 1}} and shown["rows"] == {"train": 1, "val": 1}
    report = check({"train": str(yolo / "data.yaml"), "test": str(folder)})
    assert "DL-D30" in found(report) and list(report.summary) == ["train", "val", "test"]
    assert "x" in found(report)["DL-D07"].message and "DL-D12" in found(report)           # both red


def test_other_json_and_yaml_make_no_data_set_of_boxes(tmp_path):
    (tmp_path / "t.json").write_text('{"images": 3, "label": "a"}\n{"images": 4, "label": "b"}\n')
    assert kind_of(str(tmp_path / "t.json")) == "table"
    root = pictures(tmp_path / "p", 2)
    (root / "notes.yaml").write_text("train: yes\n")
    (root / "train.json").write_text("[1, 2]")
    assert kind_of(str(root)) == "pictures"


def test_arrays_of_images(tmp_path, mnist):
    report = check({"train": str(mnist)})
    assert report.summary["train"]["rows"] == 3000 and report.summary["test"]["rows"] == 1000 and not report.errors
    x = np.random.default_rng(0).integers(0, 256, (60, 5, 5), dtype=np.uint8)
    x[7] = x[3]
    np.savez(tmp_path / "a.npz", x=x, y=np.arange(60) % 2)
    assert list(found(check({"train": str(tmp_path / "a.npz")}))["DL-D06"].rows) == [7]


def test_parts_of_different_kinds(tmp_path, mnist):
    with pytest.raises(DataError, match="different kinds"):
        check({"train": str(mnist), "val": write(tmp_path / "t.csv", rows(0, 5))})
    with pytest.raises(DataError, match="no such file"):
        check({"train": str(tmp_path / "missing.csv")})
    with pytest.raises(DataError, match="no column 'topic'"):
        check({"train": write(tmp_path / "t.csv", rows(0, 5))}, label_col="topic")


def test_show(tmp_path, mnist):
    shown = show(write(tmp_path / "t.csv", [("1", "a b", ""), ("2.5", "c d", "z"), ("x", "e f", "")], "n,t,g"), 2)
    assert shown["rows"] == [["1", "a b", None], ["2.5", "c d", "z"]] and shown["lines"] == [2, 3]
    assert shown["columns"] == {"n": "text, 3 different, 2 of them numbers", "t": "text, 3 different",
                                "g": "text, 1 different, 2 missing"}
    images = show(str(mnist), 2)
    assert images["kind"] == "images" and sum(images["classes"]["test"].values()) == 1000
