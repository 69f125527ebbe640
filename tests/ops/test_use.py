"""Ops as a user writes them: operators, numbers, and what is said when they do not go together."""
from __future__ import annotations

import numpy as np
import pytest

from dlcore import ops
from dlcore.errors import DlcoreError, NotDifferentiableError, ShapeError, UsageError
from dlcore.graph import Graph, Slot, plan


def run(outputs, values, **slots):
    graph = next(iter(outputs.values())).graph
    program = plan(graph, outputs)
    instance = program.bind()
    for name, value in values.items():
        instance[name][...] = value
    instance.run(**slots)
    return {name: instance[name].copy() for name in outputs}


def test_operators():
    graph, x, y = Graph(), np.array([[1., 2], [3, 4]]), np.array([[5., 6], [7, 8]])
    t, u = graph.input("t", 2, 2), graph.input("u", 2, 2)
    made = {"t + u": t + u, "t - u": t - u, "t * u": t * u, "t / u": t / u, "-t": -t, "t ** 2": t ** 2, "t ** 0.5": t ** 0.5,
            "t ** -1": t ** -1, "t + 2": t + 2, "2 + t": 2 + t, "t - 2": t - 2, "2 - t": 2 - t, "3 * t": 3 * t, "t / 4": t / 4,
            "4 / t": 4 / t, "t @ u": t @ u}
    found = run(made, {"t": x, "u": y})
    for text, got in found.items():
        np.testing.assert_allclose(got, eval(text, {"t": x, "u": y}), rtol=1e-6, err_msg=text)


def test_numpy_numbers_and_slots_are_numbers():
    graph = Graph()
    t = graph.input("t", 3)
    made = {"numpy": t * np.float64(1.5), "slot": ops.scale(t, Slot("factor")), "sum": ops.add(Slot("factor"), t)}
    found = run(made, {"t": [1, 2, 3]}, factor=4.0)
    np.testing.assert_array_equal(found["numpy"], [1.5, 3, 4.5])
    np.testing.assert_array_equal(found["slot"], [4, 8, 12])
    np.testing.assert_array_equal(found["sum"], [5, 6, 7])


def test_a_room_may_be_imported_before_its_op():
    import importlib
    room = importlib.import_module("dlcore.ops.softmax")
    assert callable(ops.softmax) and ops.softmax is room.softmax


@pytest.mark.parametrize("make, error, message", [
    (lambda g: ops.add(g.input("x", 4, 3), g.input("y", 4)), ShapeError, r"add: shapes \[4, 3\] and \[4\]"),
    (lambda g: ops.mul(g.input("x", 4, 3), g.input("y", 2, 3)), ShapeError, "do not go together"),
    (lambda g: ops.maximum(g.input("x", 4, 3), g.input("y", 5)), ShapeError, "maximum: shapes"),
    (lambda g: ops.relu_gradient(g.input("x", 4), g.input("y", 5)), ShapeError, "relu_gradient: shapes differ"),
    (lambda g: ops.concat([g.input("x", 4, 3), g.input("y", 5, 3)]), ShapeError, "differ off axis 1"),
    (lambda g: ops.concat([g.input("x", 4, 3)], axis=2), ShapeError, "no axis 2"),
    (lambda g: ops.slice_axis(g.input("x", 4, 3), 2, 2), ShapeError, "is empty"),
    (lambda g: ops.slice_axis(g.input("x", 4, 3), 0, 1, axis=5), ShapeError, "no axis 5"),
    (lambda g: ops.pad_axis(g.input("x", 4, 3), 2, 4), ShapeError, "do not fit"),
    (lambda g: ops.transpose(g.input("x", 4, 3, 2)), ShapeError, "not a matrix"),
    (lambda g: ops.sum(g.input("x", 4, 3, 2), axis=1), ShapeError, "first or the last axis"),
    (lambda g: ops.max(g.input("x", 4, 3), axis=0), ShapeError, "last axis or over all"),
    (lambda g: ops.dropout(g.input("x", 4, 3), 1.0), UsageError, "rate is a probability"),
    (lambda g: g.input("x", 4) ** 3, UsageError, r"x \*\* 3 is not there"),
])
def test_errors(make, error, message):
    with pytest.raises(error, match=message) as caught:
        make(Graph())
    assert isinstance(caught.value, DlcoreError) and caught.value.expected


def test_what_has_no_second_derivative_says_so():
    graph = Graph(wide=True)
    x = graph.weight("x", 5)
    (first,) = graph.gradients(ops.gelu_tanh(x), [x], graph.input("dout", 5))
    with pytest.raises(NotDifferentiableError, match="gelu_tanh_gradient"):
        graph.gradients(first, [x], graph.input("r", 5))


def test_a_first_sample_continues_the_masks():
    """Two micro-batches draw what the whole batch draws."""
    def mask(rows, first):
        graph = Graph()
        x = graph.input("x", rows, 3, 70)
        return run({"out": ops.dropout(x, 0.4, node=9)}, {"x": 1.0}, seed=5, step=2, first_sample=first)["out"]
    whole = mask(8, 0)
    assert np.array_equal(whole, np.concatenate([mask(3, 0), mask(5, 3)]))
    share = (whole == 0).mean()
    assert 0.35 < share < 0.45
