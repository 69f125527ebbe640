"""Gradients of the kernels against the reference; of the reference and of the wide kernels against differences."""
from __future__ import annotations

import numpy as np
import pytest
from ops.harness import FORWARD, build, cases, check_slope, compare, douts, plan_gradients, run_gradients, segments

from dlcore.errors import NotDifferentiableError
from dlcore.graph import plan
from dlcore.ops import scale

SEED = "seed of the output"          # no input of a case is called so
DIFFERENTIABLE = cases(lambda c: bool(c.differentiable))


@pytest.mark.parametrize("room, case", DIFFERENTIABLE)
def test_gradients(room, case):
    """Overwritten, then accumulated: the second run must double what the first one left."""
    found = run_gradients(room, case)
    expected = case.gradients(*douts(case))
    for name in case.differentiable:
        compare(f"d{name}", found[f"d{name}"], expected[name], case.gradient_tolerance)
        compare(f"d{name} accumulated", found[f"d{name} accumulated"], 2 * expected[name], case.gradient_tolerance)


@pytest.mark.parametrize("room, case", DIFFERENTIABLE)
def test_reference_gradients(room, case):
    """The reference's own backward against central differences of its forward, in float64."""
    expected = case.gradients(*douts(case))
    for name in case.differentiable:
        assert expected[name].shape == case.inputs[name].shape

        def value(x, name=name):
            out = case.reference(**{**case.inputs, name: x}, **case.options)
            return sum(float((o * d).sum()) for o, d in zip(out if isinstance(out, tuple) else (out,), douts(case), strict=True))
        check_slope(f"reference d{name}", value, case.inputs[name], expected[name])


@pytest.mark.parametrize("room, case", DIFFERENTIABLE)
def test_wide_gradients(room, case):
    """The very kernels, reading f32 as f64: their backward against differences of their forward."""
    made, program = plan_gradients(room, case, wide=True)
    instance = made.start(program)
    instance.run(*segments(program), **case.slots)
    gradients = {name: instance.gradient(name).copy() for name in case.differentiable}
    for name in case.differentiable:
        def value(x, name=name, instance=instance, program=program):
            instance[name][...] = x
            instance.run(*segments(program, *FORWARD), **case.slots)
            total = sum(float((instance[f"out{k}"] * d).sum()) for k, d in enumerate(douts(case)))
            instance[name][...] = case.inputs[name]
            return total
        check_slope(f"d{name}", value, case.inputs[name], gradients[name])


@pytest.mark.parametrize("room, case", cases(lambda c: c.twice))
def test_second_derivatives(room, case):
    """The gradient of the gradients, dotted with random tensors, against differences of the gradients, in float64."""
    made = build(room, case, wide=True)
    dout = made.leaf(SEED, douts(case)[0], kept=True)
    names = list(case.differentiable)
    gradients = made.graph.gradients(made.outs[0], [made.inputs[n] for n in names], dout)
    first = [scale(g, 1.0) for g in gradients]          # one tensor each, where two gradients are the same
    rng = np.random.default_rng(5)
    weights = {g: made.leaf(f"r{k}", rng.standard_normal(g.shape)) for k, g in enumerate(first)}
    checked = 0
    for name in [*names, SEED]:
        by = made.inputs.get(name, dout)
        gradients, seeds = {}, {}
        for g, r in weights.items():
            if reaches(made.graph, g, by, r):
                gradients[g], seeds[g] = [by], r
        program = plan(made.graph, {f"g{k}": g for k, g in enumerate(first)}, gradients=gradients, seeds=seeds)
        instance = made.start(program)
        instance.run(*segments(program), **case.slots)
        claimed = instance.gradient(name).copy() if gradients else np.zeros(by.shape)
        if name not in program.leaves:
            continue

        def value(x, name=name, instance=instance, program=program):
            before = instance[name].copy()
            instance[name][...] = x
            instance.run(*segments(program, *FORWARD), **case.slots)
            instance[name][...] = before
            return sum(float((instance[f"g{k}"] * made.values[f"r{k}"]).sum()) for k in range(len(first)))
        check_slope(f"second derivative by {name}", value, made.values[name], claimed, tolerance=1e-5)
        checked += 1
    assert checked


def reaches(graph, loss, tensor, seed) -> bool:
    """Does the gradient depend on the tensor?  A linear op's does not."""
    try:
        calls, tape = len(graph.calls), len(graph.tape)
        graph.gradients(loss, [tensor], seed)
    except NotDifferentiableError as e:
        assert "does not reach" in str(e), e
        return False
    finally:
        del graph.calls[calls:], graph.tape[tape:]
    return True
