"""Programs on one memory of what they prepare: the same bits as each on its own, and only where it is the same."""
from __future__ import annotations

import numpy as np
import pytest
from runtime.handmade import Builder, Place

from dlcore.runtime import allocate, kernel_table
from dlcore.runtime.prepared import prepared, share

FACTORS = {"w": 2.0, "v": 3.0, "u": 5.0}


def build(*names, order="wvu", factors=FACTORS, together=False, adding=False):
    """out = the sum of what is prepared of these weights: (factor * weight + 1) * 2, the latter by way of scratch.

    order: in which they are prepared.   together: what is read is one array of all, and all are the output"""
    b = Builder()
    weights = {name: b.leaf(name, "weights", 16) for name in "wvu"}
    b.segment = "prepare"
    scratch, made = b.array("arena", 16), {}
    for name in sorted(names, key=order.index):
        made[name] = b.array("prepared", 16)
        b.call("affine", weights[name], scratch, scalars=(factors[name], 1))
        if adding:
            b.call("plus", scratch, scratch, made[name], add=(0,))
            b.call("plus", scratch, scratch, made[name], add=(1,))
        else:
            b.call("affine", scratch, made[name], scalars=(2.0, 0))
    b.segment = "forward"
    if together:
        whole = Place("prepared", 0, (16 * len(names),))
        b.call("affine", whole, b.output("out", 16 * len(names)), scalars=(1.0, 0))
    else:
        out = b.output("out", 16)
        for n, name in enumerate(names):
            b.call("plus", made[name], b.leaf("zero", "inputs", 16) if n == 0 else made[name], out, add=(int(n > 0),))
    return b.program()


class Memory:
    """Weights, and what programs have prepared of them."""

    def __init__(self, kernels):
        self.table, self.known = kernel_table(folder=kernels), []
        self.weights = allocate(3 * 64)
        self.weights.view(np.float32)[:] = np.arange(48)

    def run(self, program, **more):
        instance = program.bind({"weights": self.weights, **more}, self.table)
        instance.run("forward")
        return np.array(instance["out"])

    def shared(self, program):
        """The answer of a program that reads what those before it have prepared, and how it was divided."""
        found = share(program, [contents for contents, _ in self.known])
        used = [self.known[n][1] for n in found.used]
        if found.own is not None:
            made = found.own.bind({"weights": self.weights}, self.table).buffers["prepared"]
            self.known.append((found.contents, made))
            used.append(made)
        assert "prepare" not in found.program.segments and "prepared" not in found.program.sizes
        assert all(len(array) >= found.program.sizes[f"prepared/{n}"] for n, array in enumerate(used))
        return self.run(found.program, **{f"prepared/{n}": array for n, array in enumerate(used)}), found


@pytest.fixture
def memory(kernels):
    return Memory(kernels)


@pytest.mark.parametrize("names, order", [("wvu", "wvu"), ("wu", "uvw"), ("v", "wvu"), ("uvw", "vuw")])
def test_what_another_has_prepared_is_read_there(memory, names, order):
    memory.shared(build("w", "v", "u"))
    program = build(*names, order=order)
    answer, found = memory.shared(program)
    assert found.own is None and found.used == (0,) and len(memory.known) == 1
    np.testing.assert_array_equal(answer, memory.run(program))


def test_what_is_new_is_prepared_alone(memory):
    """Of the third program one matrix lies with each of the two before it, and one is its own."""
    sizes = []
    for names in ("w", "wv", "vwu"):
        program = build(*names)
        answer, found = memory.shared(program)
        np.testing.assert_array_equal(answer, memory.run(program))
        sizes.append((found.used, found.own.sizes["prepared"], len(found.own.steps)))
    assert sizes == [((), 64, 2), ((0,), 64, 2), ((0, 1), 64, 2)]


def test_what_is_not_the_same_is_not_shared(memory):
    memory.shared(build("w", "v"))
    for other, used in ((build("w", "u"), (0,)), (build("w", factors={**FACTORS, "w": 7.0}), ()), (build("w", adding=True), ()),
                        (build("w", adding=True), ())):         # the last two add to what was there
        answer, found = memory.shared(other)
        assert found.used == used and found.own is not None
        np.testing.assert_array_equal(answer, memory.run(other))
    assert len({p.key for p in prepared(build("w", "v", "u"))}) == 4           # and the scratch


def test_parts_that_are_read_as_one_stay_together(memory):
    memory.shared(build("w", "v", "u"))
    for order in ("wvu", "uwv"):
        program = build("w", "v", "u", together=True, order=order)
        answer, found = memory.shared(program)
        assert found.used == () and found.own.sizes["prepared"] == 3 * 64
        np.testing.assert_array_equal(answer, memory.run(program))
    answer, found = memory.shared(build("w", "v", "u", together=True))
    assert found.used == (1,) and found.own is None


def test_what_is_prepared_of_what_is_prepared_comes_along(memory):
    def program(first, last):
        b = Builder()
        weight = b.leaf("w", "weights", 16)
        a, c = b.array("prepared", 16), b.array("prepared", 16)
        b.segment = "prepare"
        b.call("affine", weight, a, scalars=(first, 0))
        b.call("affine", a, c, scalars=(last, 1))
        b.segment = "forward"
        b.call("plus", a, c, b.output("out", 16), add=(0,))
        return b.program()
    for first, last, used in ((2.0, 3.0, ()), (2.0, 5.0, ()), (2.0, 3.0, (0,)), (4.0, 3.0, ())):
        answer, found = memory.shared(program(first, last))
        np.testing.assert_array_equal(answer, memory.run(program(first, last)))
        assert found.used == used
