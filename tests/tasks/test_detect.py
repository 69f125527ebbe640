"""Detectors as estimators and on the command line: they learn, are saved, resumed, drawn; what bad input gets."""
from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from conftest import DATA
from PIL import Image

import dlcore as dl
from dlcore.cli.main import run
from dlcore.data.detection import read_detection
from dlcore.errors import DataError, ModelFileError, UsageError
from dlcore.metrics.boxes import Boxes
from dlcore.runtime import set_threads
from dlcore.tasks import Detector
from dlcore.training.backup import BackupAndRestore
from dlcore.training.callbacks import Callback

BCCD = DATA / "detection" / "bccd"
ARCHS = ("yolo-tiny", "ssd", "faster-rcnn")
SMALL = {"image_size": 64, "width": 4, "epochs": 2, "batch_size": 4, "measure_every": 1}


def shapes(count, seed=0, size=(48, 64)):
    """Pictures of bright squares (class 0) and dark bars (class 1) on grey, and their boxes."""
    rng = np.random.default_rng(seed)
    pictures, boxes = [], []
    for _ in range(count):
        picture, rows = rng.integers(110, 140, (*size, 3)).astype(np.uint8), []
        for k in range(2):
            w, h = (14, 14) if k == 0 else (24, 8)
            x, y = int(rng.integers(0, size[1] - w + 1)), int(rng.integers(0, size[0] // 2 - h + 1)) + size[0] // 2 * k
            picture[y:y + h, x:x + w] = (250, 240, 60) if k == 0 else (20, 30, 90)
            rows.append((k, x, y, x + w, y + h))
        pictures.append(picture)
        boxes.append(np.array(rows, np.float64))
    return pictures, boxes


@pytest.fixture(scope="module")
def bccd():
    return read_detection(BCCD)


@pytest.fixture(scope="module", params=ARCHS)
def small(request, bccd):
    return Detector.of(request.param, **SMALL).fit(bccd.train)


@pytest.fixture(scope="module", params=ARCHS)
def trained(request):
    """A detector that knows squares from bars."""
    x, y = shapes(60)
    model = Detector.of(request.param, image_size=64, width=6, epochs=30, batch_size=6, lr=4e-3, val_split=0.0, augment="flip")
    return model.fit(x, y, classes=("square", "bar"))


def test_it_learns(trained):
    x, y = shapes(12, seed=1)
    scores = trained.evaluate(x, y)
    assert scores["map50"] > 0.8 and set(scores) >= {"map50_95", "map75", "map50_square", "map50_bar", "recall_100"}
    assert trained.score(x, y) == scores["map50"]
    found = trained.predict([x[0]], threshold=0.2)
    assert {box.label for box in found[0]} == {"square", "bar"} and found[0][0].score >= found[0][-1].score
    best = next(box for box in found[0] if box.label == "square")
    assert np.abs(np.array(best.xyxy) - y[0][0, 1:]).max() < 6
    drawn = trained.draw([x[0]], found)[0]
    assert drawn.shape == x[0].shape and not np.array_equal(drawn, x[0])


def test_every_architecture_learns_a_little(small):
    history = small.history_.history
    assert history["loss"][-1] < history["loss"][0] and len(history["val_map50"]) == 2
    assert small.labels_ == ("Platelets", "RBC", "WBC") and small.image_shape == (48, 64, 3)


def test_a_saved_model_gives_equal_answers(small, bccd, tmp_path):
    small.save(tmp_path / "model.dlc")
    loaded = dl.load(tmp_path / "model.dlc")
    assert loaded.predict(bccd.test, threshold=0.01) == small.predict(bccd.test, threshold=0.01)
    assert loaded.evaluate(bccd.test) == small.evaluate(bccd.test)
    np.testing.assert_array_equal(loaded.answers(loaded.samples(bccd.test)), small.answers(small.samples(bccd.test)))
    file = tmp_path / "folder"
    small.save(file, folder=True)
    shown = json.loads((file / "preprocess.json").read_text())
    (file / "preprocess.json").write_text(json.dumps({**shown, "outputs": shown["outputs"] + 1}))
    (file / "SHA256SUMS").unlink()
    with pytest.raises(ModelFileError), pytest.warns(UserWarning, match="no SHA256SUMS"):
        dl.load(file)


@pytest.mark.parametrize("arch", ["yolo-tiny", "faster-rcnn"])
def test_threads_do_not_change_bits(arch, bccd):
    found = []
    for threads in (1, 2):
        set_threads(threads)
        try:
            found.append(Detector.of(arch, **{**SMALL, "epochs": 1}).fit(bccd.train).get_weights())
        finally:
            set_threads(None)
    assert all(np.array_equal(a, b) for a, b in zip(*found, strict=True))


class Stop(Callback):
    """Interrupts after so many steps."""

    def __init__(self, steps):
        self.left = steps

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if self.left == 0:
            self.session.interrupt()


@pytest.mark.parametrize("augment", ["flip,zoom=0.3", "mosaic,flip,zoom=0.3"])
def test_a_resumed_training_gives_the_same_bits(bccd, tmp_path, augment):
    def model():
        return Detector.of("yolo-tiny", **SMALL, augment=augment)

    def backup(name):
        return BackupAndRestore(tmp_path / name, save_freq=1, delete_checkpoint=False)
    whole = model().fit(bccd.train, callbacks=[backup("whole")])
    model().fit(bccd.train, callbacks=[backup("cut"), Stop(2)])
    resumed = model().fit(bccd.train, callbacks=[backup("cut")])
    assert resumed.history_.history == whole.history_.history
    assert all(np.array_equal(a, b) for a, b in zip(resumed.get_weights(), whole.get_weights(), strict=True))


def test_attention_is_an_option(bccd):
    with_it = Detector.of("yolo-tiny", **{**SMALL, "epochs": 1}, attention=True).fit(bccd.train)
    assert any(type(layer).__name__ == "MultiHeadAttention" for layer in with_it.model.all_layers())


def test_parameters_of_no_use(bccd):
    for wrong in ({"arch": "yolo"}, {"image_size": 8}, {"threshold": 2}, {"width": 0}, {"augment": "mixup"}, {"measure_every": 0},
                  {"attention": 1}, {"overlap": -0.1}):
        with pytest.raises(UsageError):
            Detector(**{**SMALL, **wrong}).fit(bccd.train)
    with pytest.raises(UsageError, match="pictures with boxes"):
        dl.ImageClassifier(augment="mosaic").fit(np.zeros((4, 8, 8), np.uint8), [0, 1, 0, 1])
    with pytest.raises(UsageError, match="one answer for each row"):
        dl.cross_validate(Detector(**SMALL), bccd.train, folds=2)
    with pytest.raises(UsageError, match="no detector"):
        Detector.of("yolo")
    with pytest.raises(DataError, match="no boxes to learn"):
        Detector(**SMALL).fit(shapes(3)[0])
    with pytest.raises(DataError, match="no box to learn"):
        Detector(**SMALL).fit(shapes(3)[0], [Boxes.of([])] * 3)
    with pytest.raises(DataError, match="do not fit together"):
        Detector(**SMALL).fit(shapes(3)[0], shapes(2)[1])
    with pytest.raises(DataError, match="no picture"):
        Detector(**SMALL).fit([np.zeros((4, 4, 2), np.uint8)] * 3, shapes(3)[1])


def test_a_class_that_the_model_does_not_know(small):
    x, _ = shapes(1)
    with pytest.raises(DataError, match="does not know"):
        small.evaluate(x, [np.array([[9, 1, 1, 5, 5]])])


# ---- on the command line -------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("detect") / "run"
    arguments = ["train", "detect", "--data", str(BCCD), "--out", str(out), "--epochs", "2", "--batch", "4", "--size", "48x64",
                 "--set", "model.width=4", "--set", "train.measure-every=1", "--json"]
    assert run(arguments) == 0
    return out


def test_train_writes_what_was_measured(folder):
    result = json.loads((folder / "result.json").read_text())
    assert {"test_map50", "test_map50_95", "test_map50_RBC", "val_map50"} <= set(result["metrics"])
    assert result["best_epoch"] in (1, 2) and dl.load(folder).image_shape == (48, 64, 3)
    page = (folder / "report.html").read_text()
    assert "mAP@.5" in page and "Evaluation on" in page
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2] and "val_map50" in rows[0]


def test_predict_lines_json_and_pictures(folder, tmp_path, capsys):
    pictures = BCCD / "JPEGImages"
    assert run(["predict", str(folder), str(pictures), "--threshold", "0.011", "--save", str(tmp_path / "shown")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "image,label,score,x,y,w,h" and len(lines) > 1 and len(lines[1].split(",")) == 7
    shown = sorted((tmp_path / "shown").iterdir())
    assert len(shown) == len(list(pictures.iterdir())) and Image.open(shown[0]).size == (160, 120)
    one = sorted(pictures.iterdir())[0]
    assert run(["predict", str(folder), str(one), "--json", "--threshold", "0", "--save", str(tmp_path / "one.jpg")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["predictions"][0]["image"] == str(one) and set(found["predictions"][0]["boxes"][0]) == {
        "label", "score", "x", "y", "w", "h"}
    assert Image.open(tmp_path / "one.jpg").size == (160, 120)
    for wrong in (["--save", str(tmp_path / "shown")], ["--save", str(tmp_path / "one.jpg")], ["--proba"], ["--top-k", "2"]):
        assert run(["predict", str(folder), str(one), *wrong]) == 2
    assert run(["predict", str(folder), str(pictures), "--save", str(tmp_path / "all.png")]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_evaluate(folder, capsys):
    assert run(["evaluate", str(folder), str(BCCD), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    wanted = json.loads((folder / "result.json").read_text())["metrics"]
    assert found["metrics"]["map50"] == wanted["test_map50"]
    assert run(["evaluate", str(folder), str(BCCD), "--worst", "2"]) == 2


def damaged_copy(tmp_path):
    """The data with a truncated picture, a box outside and an unknown class."""
    copy = tmp_path / "data"
    shutil.copytree(BCCD, copy)
    names = (copy / "ImageSets" / "Main" / "train.txt").read_text().split()
    picture = copy / "JPEGImages" / f"{names[0]}.jpg"
    picture.write_bytes(picture.read_bytes()[:1500])
    box = "<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>5</ymin><xmax>{}</xmax><ymax>9</ymax></bndbox></object></annotation>"
    xml = copy / "Annotations" / f"{names[1]}.xml"
    xml.write_text(xml.read_text().replace("</annotation>", box.format("RBC", 500, 600)))
    (copy / "Annotations" / f"{names[2]}.xml").unlink()
    return copy, names


def picture_of(folder, name):
    return (folder / "JPEGImages" / f"{name}.jpg").read_bytes()


def test_bad_data_is_named_or_counted(tmp_path, capsys):
    copy, names = damaged_copy(tmp_path)
    arguments = ["train", "detect", "--data", str(copy), "--epochs", "1", "--batch", "4", "--size", "32x48"]
    arguments += ["--set", "model.width=2"]
    assert run([*arguments, "--out", str(tmp_path / "a")]) == 4
    said = capsys.readouterr().err
    assert names[0] in said and "--skip-bad" in said and not (tmp_path / "a").exists()
    assert run([*arguments, "--out", str(tmp_path / "b"), "--skip-bad"]) == 0
    said = capsys.readouterr().err
    for note in ("1 damaged pictures left out", "1 x box outside its picture", "1 x picture without annotation",
                 "1 x degenerate box"):
        assert note in said
    evaluate = ["evaluate", str(tmp_path / "b"), str(copy)]
    assert run(evaluate) == 0                               # the damaged picture is none of the test part
    name = (copy / "ImageSets" / "Main" / "test.txt").read_text().split()[1]
    (copy / "JPEGImages" / f"{name}.jpg").write_bytes(picture_of(copy, name)[:1500])
    capsys.readouterr()
    assert run(evaluate) == 4
    said = capsys.readouterr().err
    assert f"{name}.jpg" in said and "--skip-bad" in said
    assert run([*evaluate, "--skip-bad", "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["rows"] == 3 and "1 damaged pictures left out (first: " in said.err and name in said.err
    assert run(["predict", str(tmp_path / "b"), str(copy / "JPEGImages")]) == 4
    assert names[0] in capsys.readouterr().err
    assert run(["predict", str(tmp_path / "b"), str(copy / "JPEGImages"), "--skip-bad"]) == 0
    assert "damaged" in capsys.readouterr().err


def test_pictures_without_annotations(tmp_path, capsys):
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    assert run(["train", "detect", "--data", str(tmp_path), "--out", str(tmp_path / "run")]) == 4
    assert "Pascal VOC, COCO or YOLO" in capsys.readouterr().err
    assert run(["train", "detect", "--data", str(BCCD), "--label-col", "x", "--out", str(tmp_path / "run")]) in (2, 3)
