"""`Instance.call`: arrays in, copies out."""
from __future__ import annotations

import sys

import numpy as np
import pytest
from runtime.handmade import LR, Builder

from dlcore.errors import ShapeError, UsageError
from dlcore.runtime import kernel_table


@pytest.fixture
def instance(kernels):
    b = Builder()
    x, ids = b.leaf("x", "inputs", 3, 4), b.leaf("ids", "inputs", 5, dtype="i32")
    flat = type(x)(x.buffer, x.offset, (12,))
    b.call("affine", flat, b.output("first", 12), scalars=(LR, 1))
    b.call("plus", flat, flat, b.output("second", 12), add=(0,))
    b.outputs["ids again"] = ids.tuple()
    return b.program().bind(table=kernel_table(folder=kernels))


X, IDS = np.arange(12, dtype=np.float32).reshape(3, 4), np.arange(5, dtype=np.int32)


def test_outputs_are_copies(instance):
    first, second, ids = instance.call((X, IDS), lr=2.0)
    np.testing.assert_array_equal(first, 2 * X.reshape(-1) + 1)
    np.testing.assert_array_equal(second, 2 * X.reshape(-1))
    np.testing.assert_array_equal(ids, IDS)
    again = instance.call((X + 1, IDS), lr=2.0)
    np.testing.assert_array_equal(first, 2 * X.reshape(-1) + 1)
    assert again[0][0] == 3 and first.flags.writeable and first.base is None


FORMS = {"columns": np.asfortranarray(X), "strided": np.repeat(X, 2, 1)[:, ::2], "f64": X.astype(np.float64),
         "i64": X.astype(np.int64), "list": X.tolist(), "swapped": X.astype(">f4"), "f16": X.astype(np.float16),
         "u8": X.astype(np.uint8)}


@pytest.mark.parametrize("x", FORMS.values(), ids=FORMS)
def test_inputs_are_converted(instance, x):
    np.testing.assert_array_equal(instance.call((x, IDS.astype(np.int64)), lr=1.0)[0], X.reshape(-1) + 1)


def test_read_only_inputs_and_inputs_left_in_place(instance):
    x = X.copy()
    x.flags.writeable = False
    assert instance.call((x, IDS), lr=1.0)[0][1] == 2
    instance["x"][:] = 7
    assert instance.call((instance["x"], IDS), lr=1.0)[0][1] == 8


@pytest.mark.parametrize(("x", "ids", "message", "where", "got"), [
    (X.T, IDS, "wrong shape", "x", "float32[4, 3]"),
    (X.reshape(-1), IDS, "wrong shape", "x", "float32[12]"),
    (X + 1j, IDS, "wrong dtype", "x", "complex64[3, 4]"),
    (np.full((3, 4), "a"), IDS, "wrong dtype", "x", "<U1[3, 4]"),
    (X, IDS + 0.5, "wrong dtype", "ids", "float64[5]"),
    (X, np.full(5, 1 << 31), "wrong dtype", "ids", "int64[5]"),
    (None, IDS, "wrong shape", "x", "object[]"),
])
def test_inputs_that_do_not_fit_are_refused(instance, x, ids, message, where, got):
    with pytest.raises(ShapeError, match=message) as e:
        instance.call((x, ids), lr=1.0)
    assert e.value.where == where and e.value.got == got and e.value.expected in ("float32[3, 4]", "int32[5]")


def test_the_number_of_inputs_and_slots(instance):
    with pytest.raises(ShapeError, match="wrong number of inputs") as e:
        instance.call((X,))
    assert e.value.expected == "2: x, ids"
    with pytest.raises(UsageError, match="no slot rate"):
        instance.call((X, IDS), rate=1.0)


def test_call_after_accumulating_overwrites_again(kernels):
    b = Builder()
    x = b.leaf("x", "inputs", 12)
    b.call("plus", x, x, b.output("second", 12), add=(2,))
    instance = b.program().bind(table=kernel_table(folder=kernels))
    flat = X.reshape(-1)
    instance.call((flat,))
    instance.run(accumulate=True)
    np.testing.assert_array_equal(instance["second"], 4 * flat)
    np.testing.assert_array_equal(instance.call((flat,))[0], 2 * flat)


def large(kernels, show=False):
    """An instance with an input that is large enough to be read in place, as a whole and in its second half."""
    b = Builder()
    x = b.leaf("x", "inputs", 8192)
    half = type(x)(x.buffer, x.offset + 4 * 4096, (4096,))
    b.call("affine", x, b.output("first", 8192), scalars=(LR, 1))
    b.call("plus", half, half, b.output("second", 4096), add=(0,))
    if show:
        b.outputs["x again"] = x.tuple()
    return b.program().bind(table=kernel_table(folder=kernels))


LARGE = np.arange(8192, dtype=np.float32)


@pytest.mark.parametrize("show", [False, True])
def test_large_inputs(kernels, show):
    instance = large(kernels, show)
    instance["x"][:] = -1
    for x in (LARGE, LARGE + 5, LARGE[::-1], LARGE.astype(np.float64)):
        first, second, *again = instance.call((x,), lr=2.0)
        expected = np.asarray(x, dtype=np.float32)
        np.testing.assert_array_equal(first, 2 * expected + 1)
        np.testing.assert_array_equal(second, 2 * expected[4096:])
        for output in again:
            np.testing.assert_array_equal(output, expected)


def test_large_inputs_are_read_in_place_and_given_back(kernels):
    instance = large(kernels)
    instance["x"][:] = -1
    x = LARGE.copy()
    references = sys.getrefcount(x)
    instance.call((x,), lr=1.0)
    assert (instance["x"] == -1).all() and sys.getrefcount(x) == references
    instance.run()                                          # reads the instance's own memory again
    assert (instance["first"] == 0).all()
    with pytest.raises(ShapeError):
        instance.call((x[:-1],))
    bad = memoryview(bytearray(4 * 8192 + 2))[2:].cast("B")
    odd = np.frombuffer(bad, dtype=np.float32, count=8192)  # not aligned to its elements: copied
    np.testing.assert_array_equal(instance.call((odd,), lr=1.0)[0], np.ones(8192))
