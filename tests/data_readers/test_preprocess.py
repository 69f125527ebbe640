"""Fitted preprocessing: what is inferred, how rows are encoded, and that it survives a file, whatever the file says."""
from __future__ import annotations

import copy
import json

import numpy as np
import pytest

from dlcore.data.answers import Classes, Quantity, parse_answers
from dlcore.data.preprocess import ImagePreprocessor, TablePreprocessor
from dlcore.data.split import shuffled, split
from dlcore.data.table import as_table
from dlcore.errors import DataError, ModelFileError

ROWS = [{"age": 10.0 * i, "job": "ab"[i % 2], "gap": None if i == 1 else i, "same": "x", "who": f"id{i}",
         "day": f"2011-01-{i + 1:02}"} for i in range(4)]


def fitted(rows=ROWS) -> TablePreprocessor:
    return TablePreprocessor.fit(as_table(rows))


def test_columns_are_inferred_and_described():
    assert fitted().describe() == ["age: number", "job: 2 categories", "gap: number, missing values",
                                   "same: ignored, all values are equal", "who: 4 categories", "day: number"]
    many = fitted([{"id": f"x{i}", "v": i} for i in range(100)])
    assert many.describe()[0] == "id: ignored, 100 different texts in 100 rows"


def test_rows_are_encoded():
    out = fitted().transform([{"age": 30, "job": "b", "gap": None, "who": "unseen", "day": "2011-01-04"}])
    age, day = (30 - 15) / np.std([0, 10, 20, 30]), 1.5 / np.std([0, 1, 2, 3])
    np.testing.assert_allclose(out, [[age, 0, 1, 0, 1, 0, 0, 0, 0, day]], rtol=1e-6)
    assert out.dtype == np.float32
    everything = fitted().transform(ROWS)
    np.testing.assert_allclose(everything[:, 0].mean(), 0, atol=1e-6)
    np.testing.assert_allclose(everything[:, 0].std(), 1, rtol=1e-6)


def test_categories_are_the_same_however_they_are_written():
    p = fitted([{"a": "1"}, {"a": "x"}, {"a": "2"}] * 5)
    want = p.transform([{"a": "1"}])
    for written in (1, 1.0, np.int8(1), " 1 "):
        np.testing.assert_array_equal(p.transform([{"a": written}]), want)


def test_a_few_whole_numbers_are_categories_too():
    hours = [{"hour": str(i % 24), "x": str(i)} for i in range(2400)]
    p = fitted(hours)
    assert p.describe() == ["hour: number, 24 values", "x: number"] and p.width == 26
    row = p.transform([{"hour": 7, "x": 0}])[0]
    assert row[1 + 7] == 1 and row[1:25].sum() == 1
    assert TablePreprocessor.fit(as_table(np.array([[i % 24, i] for i in range(2400)]))).width == 2      # an array is numbers


def test_rare_categories_share_the_code_of_unseen_ones():
    rows = [{"a": f"w{i % 300 if i < 600 else i % 10}"} for i in range(1200)]
    p = fitted(rows)
    assert p.width == 256
    assert p.transform([{"a": "w99"}]).sum() == 0 and p.transform([{"a": "w3"}]).sum() == 1


def test_strays_in_a_numeric_column():
    rows = [{"a": str(i)} for i in range(99)]
    with pytest.raises(DataError, match=r"(?s)row 1, column 'a'\n.*abc"):
        fitted(rows).transform([{"a": "abc"}])
    p = fitted([*rows, {"a": "abc"}])
    assert "count as missing" in p.describe()[0]
    np.testing.assert_array_equal(p.transform([{"a": "other"}]), [[0, 1]])


def test_wild_numbers():
    p = fitted([{"a": 1e300}, {"a": -1e300}, {"a": 0}, {"a": 1.0}])
    assert np.isfinite(p.transform([{"a": 1.7e308}])).all()
    for bad in (float("inf"), "1e999"):
        with pytest.raises(DataError, match="infinite"):
            fitted([{"a": bad}, {"a": 1}])


def test_tables_with_nothing_to_learn_from():
    for rows in ([{"a": "x"}, {"a": "x"}], [{"a": None}, {"a": None}], [{"a": 3}, {"a": 3}]):
        with pytest.raises(DataError, match="nothing|no column"):
            fitted(rows)
    with pytest.raises(DataError, match="no rows"):
        TablePreprocessor.fit(as_table([], ["a"]))


def test_a_lost_column_is_named_and_further_ones_are_left_out():
    p = fitted()
    frame = as_table(ROWS)
    np.testing.assert_array_equal(p.transform(frame.without("same")), p.transform(frame))
    with pytest.raises(DataError, match="no column 'gap'"):
        p.transform(frame.without("gap"))
    with pytest.raises(DataError, match="expecting 6 features"):
        p.transform(np.zeros((2, 3)))


def through_json(value):
    return json.loads(json.dumps(value.to_json()))


def test_tables_survive_a_file():
    p = fitted()
    assert TablePreprocessor.from_json(through_json(p), "here") == p


def test_images():
    images = np.arange(48, dtype=np.uint8).reshape(3, 4, 4) * 5
    p = ImagePreprocessor.fit(images)
    assert (p.shape, p.scale, p.width) == ((4, 4), 1 / 255, 16)
    want = images.reshape(3, 16).astype(np.float32) * np.float32(1 / 255)
    for dtype in (np.uint8, np.int16, np.int64, np.float32, np.float64, np.uint32):
        np.testing.assert_array_equal(p.transform(images.astype(dtype)), want)
    np.testing.assert_array_equal(p.transform(images[0]), want[:1])
    np.testing.assert_array_equal(p.transform(images[..., None]), want)
    assert ImagePreprocessor.fit(images / 255).scale == 1
    assert ImagePreprocessor.fit(images.astype(np.float32)).scale == 1 / 235
    assert ImagePreprocessor.fit(images.astype(np.int32)).scale == 1 / 255
    assert ImagePreprocessor.from_json(through_json(p), "here") == p
    for bad in (np.zeros((3, 4, 5)), np.zeros((3, 4)), np.full((1, 4, 4), np.nan), np.array([["a"]]), np.zeros((1, 4, 4, 3))):
        with pytest.raises(DataError):
            p.transform(bad)
    for bad in (np.zeros((0, 4, 4)), np.zeros((3, 4)), np.full((2, 4, 4), np.inf)):
        with pytest.raises(DataError):
            ImagePreprocessor.fit(bad)


# ---- answers ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("labels", [["b", "a", "b"], [3, 1, 3], [1.5, 0.5, 1.5], [True, False, True], ["é", "模", "é"]])
def test_classes(labels):
    c = Classes.fit(labels)
    ids = c.encode(labels)
    assert ids.dtype == np.int32 and c.decode(ids).tolist() == labels
    again = Classes.from_json(json.loads(json.dumps(c.to_json())), "here")
    assert again.labels.dtype.kind == c.labels.dtype.kind and again.decode(ids).tolist() == labels


def test_labels_that_are_refused():
    for bad in (["a", "a"], [], [1.0, np.nan], [["a", "b"]], [None, "a"]):
        with pytest.raises(DataError):
            Classes.fit(bad)
    with pytest.raises(DataError, match=r"row 2[^$]*expected  a, b[^$]*got       c"):
        Classes.fit(["a", "b"]).encode(["a", "c"])
    assert Classes.fit([1, 2]).encode(["2", "1"]).tolist() == [1, 0]
    with pytest.raises(DataError):
        Classes.fit([1, 2]).encode(["x"])


def test_answers_of_files():
    assert parse_answers(["1", "2", "-3"]).tolist() == [1, 2, -3]
    assert parse_answers([1, 2.5]).tolist() == [1.0, 2.5]
    assert parse_answers(["007", "1"]).tolist() == ["007", "1"]
    assert parse_answers(["a", 3, 4.0, True]).tolist() == ["a", "3", "4", "True"]
    assert parse_answers([True, False]).dtype == bool


def test_quantities():
    q = Quantity.fit([1.0, 2.0, 6.0])
    np.testing.assert_allclose(q.decode(q.encode([1, 2, 6])), [1, 2, 6], rtol=1e-6)
    assert q.encode([3]).shape == (1, 1) and Quantity.from_json(through_json(q), "here") == q
    for bad in ([1, 1], [], [1, np.nan], ["a", "b"], [[1, 2], [3, 4]]):
        with pytest.raises(DataError):
            Quantity.fit(bad)


# ---- files that say something else -----------------------------------------------------------------------------------

def places(value, path=()):
    yield path
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from places(value[key], (*path, key))


@pytest.mark.parametrize(("cls", "value"), [
    (TablePreprocessor, through_json(fitted())), (ImagePreprocessor, through_json(ImagePreprocessor((4, 4), 0.5))),
    (Classes, ["a", "b"]), (Quantity, {"mean": 1.0, "scale": 2.0}),
], ids=["table", "image", "classes", "quantity"])
def test_anything_else_in_a_file_is_refused(cls, value):
    for path in places(value):
        for wrong in (None, -1, 1e9, "9" * 20, [], {}, True, "text", 10 ** 30, [[]], -0.5):
            changed = copy.deepcopy(value)
            inner = changed
            for key in path[:-1]:
                inner = inner[key]
            if path:
                inner[path[-1]] = wrong
            else:
                changed = wrong
            try:
                cls.from_json(changed, "here")
            except ModelFileError:
                continue
            # what is taken must be of the kind that was there: another number or text in its place
            old = value
            for key in path:
                old = old[key]
            assert type(old) is type(wrong) or {type(old), type(wrong)} == {int, float}, (path, wrong)


# ---- split -----------------------------------------------------------------------------------------------------------

def test_the_split_is_stratified_seeded_and_the_same_everywhere():
    classes = np.repeat([0, 1, 2], [70, 25, 5])
    train, val = split(100, 0.2, 0, classes)
    assert sorted([*train, *val]) == list(range(100))
    assert np.bincount(classes[val]).tolist() == [14, 5, 1]
    assert not np.array_equal(split(100, 0.2, 1, classes)[1], val)
    assert shuffled(10, 7).tolist() == [6, 3, 4, 9, 0, 2, 8, 7, 5, 1]       # must never change: resumed runs count on it


def test_a_class_with_one_row_stays_in_training():
    classes = np.array([0] * 50 + [1])
    assert 50 in split(51, 0.5, 3, classes)[0]


@pytest.mark.parametrize(("count", "fraction"), [(2, 0.1), (1, 0.5), (10, 0.0), (10, 1.0), (10, -1), (10, float("nan"))])
def test_splits_that_leave_nothing_are_refused(count, fraction):
    with pytest.raises(DataError):
        split(count, fraction, 0)
