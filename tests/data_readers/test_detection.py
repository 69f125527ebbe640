"""Readers of boxes: Pascal VOC, COCO and YOLO give equal boxes; what is wrong is counted or raised."""

import json

import numpy as np
import pytest
from conftest import DATA
from PIL import Image

from dlcore.data.detection import pictures_of, read_detection
from dlcore.data.detection.yolo import parse_yaml
from dlcore.errors import DataError, UsageError

BCCD = DATA / "detection" / "bccd"
EMPTY = '"annotations": [], "categories": [{"id": 1, "name": "x"}]}'


@pytest.fixture(scope="module")
def bccd():
    return read_detection(BCCD)


def test_voc_parts_and_counts(bccd):
    train, val, test = bccd.train, bccd.train.validation, bccd.test
    assert (len(train), len(val), len(test)) == (12, 4, 4)
    assert train.classes == val.classes == test.classes == ("Platelets", "RBC", "WBC")
    assert [len(b) for b in train.y[:3]] == [len(b.xyxy) for b in train.y[:3]]
    assert any("1 x degenerate box left out (first: " in note and "BloodImage_00343" in note for note in bccd.notes)
    assert np.array_equal(train.x.sizes[0], [120, 160])
    some = train.take(np.array([3, 1]))
    assert some.x.files == [train.x.files[3], train.x.files[1]] and some.y[0] is train.y[3] and some.classes == train.classes
    with pytest.raises(DataError, match="degenerate box"):
        read_detection(BCCD, faults="error")
    with pytest.raises(UsageError):
        read_detection(BCCD, faults="loudly")


def write_yolo(folder, bccd, names):
    """The same data in YOLO's form."""
    for name, part in (("train", bccd.train), ("val", bccd.train.validation), ("test", bccd.test)):
        for place in ("images", "labels"):
            (folder / place / name).mkdir(parents=True)
        for file, size, boxes in zip(part.x.files, part.x.sizes, part.y, strict=True):
            (folder / "images" / name / file.name).write_bytes(file.read_bytes())
            lines = []
            for label, (x1, y1, x2, y2) in zip(boxes.labels, boxes.xyxy, strict=True):
                shares = (x1 + x2) / 2 / size[1], (y1 + y2) / 2 / size[0], (x2 - x1) / size[1], (y2 - y1) / size[0]
                lines.append(f"{label} " + " ".join(f"{v:.9f}" for v in shares))
            (folder / "labels" / name / f"{file.stem}.txt").write_text("\n".join(lines))
    (folder / "data.yaml").write_text(f"# cells\npath: .\ntrain: images/train\nval: images/val\ntest: images/test\n{names}")
    return folder / "data.yaml"


def coco_of(part):
    return {"images": [{"id": 10 + i, "file_name": f.name, "height": int(s[0]), "width": int(s[1])}
                       for i, (f, s) in enumerate(zip(part.x.files, part.x.sizes, strict=True))],
            "categories": [{"id": 3 * k + 1, "name": name} for k, name in enumerate(part.classes)],
            "annotations": [{"id": 1, "image_id": 10 + i, "category_id": int(3 * label + 1), "iscrowd": 0,
                             "bbox": [b[0], b[1], b[2] - b[0], b[3] - b[1]]}
                            for i, boxes in enumerate(part.y) for label, b in zip(boxes.labels, boxes.xyxy.tolist(), strict=True)]}


def write_coco(folder, bccd):
    for name, part in (("train", bccd.train), ("valid", bccd.train.validation), ("test", bccd.test)):
        (folder / name).mkdir()
        for file in part.x.files:
            (folder / name / file.name).write_bytes(file.read_bytes())
        (folder / name / "_annotations.coco.json").write_text(json.dumps(coco_of(part)))
    return folder


def assert_equal_parts(a, b):
    assert a.classes == b.classes
    by_name = {f.name: boxes for f, boxes in zip(b.x.files, b.y, strict=True)}
    assert {f.name for f in a.x.files} == by_name.keys()
    for file, boxes in zip(a.x.files, a.y, strict=True):
        np.testing.assert_allclose(boxes.xyxy, by_name[file.name].xyxy, atol=1e-4)
        assert np.array_equal(boxes.labels, by_name[file.name].labels)


@pytest.mark.parametrize("names", ["names: [Platelets, RBC, WBC]", "nc: 3\nnames:\n  0: Platelets\n  1: RBC\n  2: WBC",
                                   "names:\n- Platelets\n- 'RBC'\n- \"WBC\""])
def test_yolo_gives_the_same(bccd, tmp_path, names):
    parts = read_detection(write_yolo(tmp_path, bccd, names))
    for a, b in zip((parts.train, parts.train.validation, parts.test), (bccd.train, bccd.train.validation, bccd.test), strict=True):
        assert_equal_parts(a, b)


def test_coco_gives_the_same(bccd, tmp_path):
    parts = read_detection(write_coco(tmp_path, bccd))
    for a, b in zip((parts.train, parts.train.validation, parts.test), (bccd.train, bccd.train.validation, bccd.test), strict=True):
        assert_equal_parts(a, b)
    assert_equal_parts(read_detection(tmp_path / "test" / "_annotations.coco.json").train, bccd.test)


def voc(folder, objects, size=(40, 30), name="a"):
    """A data set of one picture (width, height) and these objects."""
    (folder / "Annotations").mkdir(exist_ok=True)
    (folder / "JPEGImages").mkdir(exist_ok=True)
    Image.new("RGB", size).save(folder / "JPEGImages" / f"{name}.png")
    keys = "xmin", "ymin", "xmax", "ymax"
    rows = "".join(f"<object><name>{n}</name><difficult>{d}</difficult><bndbox>"
                   + "".join(f"<{k}>{v}</{k}>" for k, v in zip(keys, b, strict=True)) + "</bndbox></object>" for n, b, d in objects)
    (folder / "Annotations" / f"{name}.xml").write_text(f"<annotation>{rows}</annotation>")
    return folder


def test_boxes_that_leave_their_picture(tmp_path):
    voc(tmp_path, [("x", (-5, 2, 20, 10), 0), ("x", (41, 0, 50, 10), 0), ("x", (0, 0, 40.4, 30), 1), ("y", (7, 7, 7, 9), 0)])
    part = read_detection(tmp_path).train
    assert part.y[0].xyxy.tolist() == [[0, 2, 20, 10], [0, 0, 40, 30]] and part.y[0].ignored.tolist() == [False, True]
    notes = "\n".join(part.notes)
    for kind in ("1 x box beyond the edge cut off there", "1 x box outside its picture left out", "1 x degenerate box left out"):
        assert kind in notes
    with pytest.raises(DataError, match="beyond the edge") as caught:
        read_detection(tmp_path, faults="error")
    assert "a.xml, object 1" in caught.value.where and "data.faults" in caught.value.hint


def test_unknown_classes_and_bare_pictures(tmp_path):
    voc(tmp_path, [("x", (1, 1, 9, 9), 0), ("new", (1, 1, 9, 9), 0)])
    Image.new("L", (20, 20)).save(tmp_path / "JPEGImages" / "b.png")
    part = read_detection(tmp_path, classes=("x",)).train
    assert [len(b) for b in part.y] == [1, 0] and part.classes == ("x",)
    notes = "\n".join(part.notes)
    assert "1 x unknown class left out" in notes and "new" in notes and "1 x picture without annotation kept as background" in notes
    (tmp_path / "JPEGImages" / "a.png").unlink()
    assert "1 x annotation without a picture left out" in "\n".join(read_detection(tmp_path, classes=("x",)).train.notes)


def test_unknown_classes_of_numbered_forms(bccd, tmp_path):
    yaml = write_yolo(tmp_path, bccd, "names: [Platelets, RBC]")
    whites = sum(int((b.labels == 2).sum()) for b in bccd.train.y)
    assert f"{whites} x unknown class left out" in "\n".join(read_detection(yaml).train.notes)
    with pytest.raises(DataError, match="unknown class"):
        read_detection(yaml, faults="error")
    content = coco_of(bccd.test)
    content["annotations"][0]["category_id"] = 99
    file = BCCD.parent / "unused.json"
    target = tmp_path / "x.json"
    for picture in bccd.test.x.files:
        (tmp_path / picture.name).write_bytes(picture.read_bytes())
    target.write_text(json.dumps(content))
    assert "1 x unknown class left out" in "\n".join(read_detection(target).train.notes) and not file.exists()


def test_a_picture_that_cannot_be_read(tmp_path):
    voc(tmp_path, [("x", (1, 1, 9, 9), 0)])
    voc(tmp_path, [("x", (1, 1, 9, 9), 0)], name="b")
    (tmp_path / "JPEGImages" / "b.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match="damaged") as caught:
        read_detection(tmp_path)
    assert "b.png" in caught.value.where
    part = read_detection(tmp_path, skip_bad=True).train
    assert len(part) == 1 and "1 x picture that cannot be read left out (first: " in part.notes[1]
    (tmp_path / "a.json").write_text(json.dumps({
        "images": [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "c.png"}], "categories": [{"id": 1, "name": "x"}],
        "annotations": [{"id": i, "image_id": i, "category_id": 1, "bbox": [1, 1, 5, 5]} for i in (1, 2)]}))
    (tmp_path / "JPEGImages" / "a.png").rename(tmp_path / "a.png")
    part = read_detection(tmp_path / "a.json", skip_bad=True).train
    assert len(part) == 1 and "1 x missing picture left out (first: " in part.notes[1] and "c.png" in part.notes[1]


@pytest.mark.parametrize("content, message", [
    ("<annotation><object>", "no xml"),
    ("<!DOCTYPE x [<!ENTITY a 'b'>]><annotation/>", "no plain xml"),
    ("<annotation><object><name>x</name></object></annotation>", "no name or no bndbox"),
    ("<annotation><object><name>x</name><bndbox><xmin>a</xmin></bndbox></object></annotation>", "xmin is no number"),
])
def test_malformed_xml_is_named(tmp_path, content, message):
    voc(tmp_path, [("x", (1, 1, 9, 9), 0)])
    (tmp_path / "Annotations" / "a.xml").write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        read_detection(tmp_path)
    assert "a.xml" in caught.value.where


@pytest.mark.parametrize("content, message", [
    ("{", "no json"), ("{}", "no COCO annotation"),
    (f'{{"images": [{{"id": 1, "file_name": "../a.png"}}], {EMPTY}', "leaves the folder"),
    (f'{{"images": [{{"id": 1, "file_name": "a.png"}}], {EMPTY}', "picture is missing"),
    (f'{{"images": [{{"id": 1}}], {EMPTY}', "'file_name' is missing"),
])
def test_malformed_coco_is_named(tmp_path, content, message):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(DataError, match=message):
        read_detection(tmp_path / "a.json")


@pytest.mark.parametrize("line", ["0 0.5 0.5 0.2", "0 a b c d", "0.5 0.1 0.1 0.1 0.1", "0 0.1 0.1 0.2 0.2 0.3", "0 nan 1 1 1"])
def test_malformed_yolo_lines_are_named(tmp_path, line):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("0 0.5 0.5 0.5 0.5\n" + line)
    (tmp_path / "data.yaml").write_text("train: a.png\nnames: [x]")
    with pytest.raises(DataError, match="malformed") as caught:
        read_detection(tmp_path / "data.yaml")
    assert "a.txt:2" in caught.value.where


def test_polygons_of_yolo_are_boxes(tmp_path):
    Image.new("RGB", (10, 20)).save(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("0 0.1 0.1 0.5 0.2 0.3 0.6")
    (tmp_path / "data.yaml").write_text("train: a.png\nnames: {0: x}")
    np.testing.assert_allclose(read_detection(tmp_path / "data.yaml").train.y[0].xyxy, [[1, 2, 5, 12]])


def test_yaml_that_is_not_read_is_named():
    assert parse_yaml("a: 'b # c' # d\nl: [x, 'y']\nm: {0: p}\nn:\n  - q\n  - r\nempty:\n") == {
        "a": "b # c", "l": ["x", "y"], "m": {"0": "p"}, "n": ["q", "r"], "empty": ""}
    for text in ("no colon", "a: [1,", "a: {1", "a: b\n  - c"):
        with pytest.raises(DataError, match="yaml"):
            parse_yaml(text)


def test_what_is_no_data_set(tmp_path):
    with pytest.raises(DataError, match="no such file or folder"):
        read_detection(tmp_path / "nothing")
    with pytest.raises(DataError, match="Pascal VOC, COCO or YOLO"):
        read_detection(tmp_path)
    with pytest.raises(DataError, match="has no pictures"):
        pictures_of(tmp_path)
    assert len(pictures_of(BCCD / "JPEGImages")) == 20 and len(pictures_of(BCCD / "JPEGImages" / "BloodImage_00343.jpg")) == 1
