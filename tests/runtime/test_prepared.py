"""Programs on one memory of what they prepare: the same bits as each on its own, and only where it is the same."""
from __future__ import annotations

import numpy as np
import pytest
from runtime.handmade import Builder

from dlcore.runtime import allocate, kernel_table
from dlcore.runtime.prepared import borrowing, prepared

FACTORS = {"w": 2.0, "v": 3.0, "u": 5.0}


def build(*names, order="wvu", factors=FACTORS, together=False, adding=False):
    """out = the sum of what is prepared of these weights: (factor * weight + 1) * 2, the latter by way of scratch.

    order: in which they are prepared.   together: what is read is one array of all"""
    b = Builder()
    weights = {name: b.leaf(name, "weights", 16) for name in "wvu"}
    b.segment = "prepare"
    made = {}
    for name in sorted(names, key=order.index):
        scratch = b.array("arena", 16)
        made[name] = b.array("prepared", 16)
        b.call("affine", weights[name], scratch, scalars=(factors[name], 1))
        if adding:
            b.call("plus", scratch, scratch, made[name], add=(0,))
            b.call("plus", scratch, scratch, made[name], add=(1,))
        else:
            b.call("affine", scratch, made[name], scalars=(2.0, 0))
    b.segment = "forward"
    if together:
        first = min(made.values(), key=lambda p: p.offset)
        whole = type(first)("prepared", first.offset, (16 * len(names),))
        b.call("affine", whole, b.output("out", 16 * len(names)), scalars=(1.0, 0))
    else:
        out = b.output("out", 16)
        for n, name in enumerate(names):
            b.call("plus", made[name], b.leaf("zero", "inputs", 16) if n == 0 else made[name], out, add=(int(n > 0),))
    return b.program()


@pytest.fixture
def bound(kernels):
    table = kernel_table(folder=kernels)
    weights = allocate(3 * 64)
    weights.view(np.float32)[:] = np.arange(48)

    def run(program, **more):
        instance = program.bind({"weights": weights, **more}, table)
        instance.run("forward")
        return instance, np.array(instance["out"])
    return run


@pytest.mark.parametrize("names, order", [("wvu", "wvu"), ("wu", "uvw"), ("v", "wvu"), ("uvw", "vuw")])
def test_what_another_has_prepared_is_read_there(bound, names, order):
    other, program = build("w", "v", "u"), build(*names, order=order)
    shared = borrowing(program, other)
    assert shared is not None and "prepare" not in shared.segments and shared.sizes["prepared"] == other.sizes["prepared"]
    first, _ = bound(other)
    second, found = bound(shared, prepared=first.buffers["prepared"])
    assert np.shares_memory(second.buffers["prepared"], first.buffers["prepared"])
    np.testing.assert_array_equal(found, bound(program)[1])


def test_what_is_not_the_same_is_not_shared():
    other = build("w", "v")
    assert borrowing(build("w", "u"), other) is None                                    # of other weights
    assert borrowing(build("w", factors={**FACTORS, "w": 7.0}), other) is None          # by another number
    assert borrowing(build("w", adding=True), build("w", adding=True)) is None          # added to what was there
    assert len(prepared(other)) == 2
    b = Builder()
    b.call("affine", b.leaf("x", "inputs", 4), b.output("out", 4), scalars=(1.0, 0))
    assert borrowing(b.program(), other) is None and borrowing(other, b.program()) is None


def test_parts_that_are_read_as_one_lie_together(bound):
    program = build("w", "v", together=True)
    shared = borrowing(program, build("w", "v", "u"))
    first, _ = bound(build("w", "v", "u"))
    np.testing.assert_array_equal(bound(shared, prepared=first.buffers["prepared"])[1], bound(program)[1])
    assert borrowing(program, build("w", "v", "u", order="wuv")) is None                # there they do not
