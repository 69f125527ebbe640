"""The page's text: self-contained, escaped, with the numbers that were measured."""

import io
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from PIL import Image
from report.pages import epochs, full, images, labels, numbers, texts

from dlcore.errors import ShapeError
from dlcore.metrics import evaluation
from dlcore.report import Example, Report, png, svg


@pytest.mark.parametrize(
    "page",
    [full(labels(2), texts()), full(labels(12), images()), full(numbers(), texts())],
    ids=["two", "many", "numbers"],
)
def test_nothing_is_fetched(page):
    text = page.html()
    assert not re.search(r"(src|href)\s*=\s*[\"']?(https?:|//|/|\.)", text)
    assert not re.search(r"url\(|@import|<script|<link(?! rel=\"icon\" href=\"data:,\")", text)
    assert len(text) > 5000
    for chart in re.findall(r"<svg.*?</svg>", text, re.S):
        ElementTree.fromstring(chart)  # well-formed
        assert not re.search(r'="(nan|inf|-inf)', chart)


def test_words_of_the_user_are_words():
    name = '<script>alert("x")</script>'
    evil = labels(2, names=[name, "b&b"])
    example = Example(name, name, name, name, text=name)
    text = Report(name=name, task=name, evaluation=evil, examples=[example], config=name, cost={name: name}).html()
    assert "<script" not in text and "&lt;script&gt;" in text and "b&amp;b" in text


def test_the_numbers_are_those_of_the_evaluation():
    found = labels(3)
    text = full(found, ()).html()
    assert f"<b>{found.metrics['accuracy']:.4f}</b>" in text
    for row in found.confusion.tolist():
        for count in row:
            assert not count or f">{count}</text>" in text
    assert "best: epoch 9" in text and "label 2 (AUC" in text


def test_parts_that_are_not_known_are_left_out():
    text = Report(name="a", task="b").html()
    assert "<svg" not in text and "<h2>" not in text
    no_metrics = Report(name="a", task="b", rows=[{"epoch": 1, "loss": float("nan"), "seconds": 1.0}]).html()
    assert "nan" not in no_metrics


def test_an_evaluation_of_a_label_that_does_not_occur():
    probs = np.full((4, 3), 1 / 3)
    found = evaluation.of_labels(np.array([0, 0, 1, 1]), probs, ["a", "b", "never"])
    assert "never" not in found.roc and set(found.roc) == {"a", "b"}
    one = evaluation.of_labels(np.zeros(4, int), probs[:, :2], ["a", "b"])
    assert one.roc == {} and np.isnan(one.metrics["roc_auc"])
    for page in (full(found, ()), full(one, ())):
        assert 'cx="nan"' not in page.html()


def test_ticks_are_round_and_inside():
    for low, high in ((0, 1), (0.2, 0.9), (-3, 12000), (1, 7), (1e-9, 2e-9), (5, 5)):
        axis = svg.Axis(low, high, 0.0, 100.0)
        assert 2 <= len(axis.ticks) <= 8 or low == high
        assert all(-1e-6 <= axis(tick) <= 100 + 1e-6 for tick in axis.ticks)
        assert len({axis.text(tick) for tick in axis.ticks}) == len(axis.ticks)
    assert svg.Axis(1e-5, 0.5, 0.0, 1.0, log=True).ticks[0] == 1e-5


def test_a_resumed_run_starts_its_clock_again():
    rows = epochs(4)
    rows[2]["seconds"], rows[3]["seconds"] = 0.5, 1.0
    text = Report(name="a", task="b", rows=rows, train_rows=2700).html()
    assert len(re.findall(r"<title>rows a second, validation included: 5400 at", text)) == 4


@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (5, 7, 1), (5, 7, 2), (4, 9, 3), (3, 3, 4)])
def test_png_files_are_read_by_pillow(shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    image = Image.open(io.BytesIO(png.encode(pixels)))
    image.load()
    assert np.array_equal(np.asarray(image), pixels.reshape(shape[:2]) if shape[2:] == (1,) else pixels)


def test_images_of_other_types_become_bytes():
    assert png.as_bytes(np.array([[0.0, 0.5], [1.0, 0.25]])).tolist() == [[0, 128], [255, 64]]
    assert png.as_bytes(np.array([[0, 255], [128, 3]], np.int64)).tolist() == [[0, 255], [128, 3]]
    assert png.as_bytes(np.array([[-1.0, 1.0], [np.nan, 0.0]])).tolist() == [[0, 255], [128, 128]]
    assert png.as_bytes(np.full((2, 2), -7.0)).tolist() == [[0, 0], [0, 0]]
    with pytest.raises(ShapeError, match="do not make an image"):
        png.encode(np.zeros((2, 2, 9), np.uint8))
