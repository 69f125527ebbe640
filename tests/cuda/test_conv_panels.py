"""Convolutions in the stages of large products: strides, padding, dilation, channels that are padded, tails of tiles."""

from __future__ import annotations

import copy
import re

import pytest
from ops.harness import build, douts, outputs_of, segments
from ptx.device import start
from ptx.parse import PtxError, parse
from ptx.products import error

from dlcore.graph import plan
from dlcore.ops.conv2d.ref import case
from dlcore.runtime.cuda_table import cuda_table

SIZE = "M * N * KH * KW * J >= 33554432"
CASES = [
    case("same", (2, 6, 5, 12), (3, 3), 20, bias=True, activation="relu", padding="same"),
    case("strided", (1, 9, 8, 16), (3, 3), 8, residual=True, activation="relu", stride=2, padding="same"),
    case("dilated", (2, 9, 7, 8), (2, 3), 12, bias=True, dilation=(1, 2), stride=(1, 3)),
    case("tails", (1, 12, 11, 20), (1, 5), 132, padding=((0, 0), (3, 1))),
    case("odd-channels", (1, 5, 5, 9), (2, 2), 13, bias=True, padding="same"),
    case("odd-filters", (1, 5, 4, 8), (3, 1), 13, bias=True, residual=True, activation="tanh"),
]
LIMIT = {"bf16": 6e-3, "tf32x3": 3e-6}  # factors of 8 bits, and of float32's
NAME = {"bf16": "panels", "tf32x3": "tf32"}


def of_any_size():
    table = copy.copy(cuda_table())
    table.data = copy.deepcopy(table.data)
    for alternatives in table.data["lowerings"].values():
        for each in alternatives:
            each["when"] = each["when"].replace(SIZE, "M >= 1")
    return table


def program_of(made, precision):
    program = plan(made.graph, outputs_of(made), **made.by_all(), table=of_any_size())
    return program, {s.kernel for s in program.steps}


@pytest.mark.parametrize("precision", ["bf16", "tf32x3"])
@pytest.mark.parametrize("case", [pytest.param(c, id=f"conv2d-panels-{c.id}") for c in CASES])
def test_values_and_gradients(case, precision):
    made = build("conv2d", case, precision=precision)
    program, kernels = program_of(made, precision)
    J, N = case.inputs["x"].shape[3], case.inputs["weight"].shape[3]
    name, fits = NAME[precision], (lambda n: n >= 8) if precision == "bf16" else (lambda n: n % 4 == 0)
    assert bool(kernels & {f"conv2d_{name}", f"conv2d_forward_{name}"}) == (f"conv2d_weight_{name}" in kernels) == fits(J)
    assert (f"conv2d_data_{name}" in kernels) == fits(N)
    instance = start(made, program, shuffle=2 if case.id in ("same", "tails") else None)
    instance.run(*segments(program))
    assert error(instance["out0"], case.expected()[0]) < LIMIT[precision]
    wanted = case.gradients(*douts(case))
    for n in case.differentiable:
        assert error(instance.gradient(n), wanted[n]) < LIMIT[precision], n
    if case.id == "strided":
        instance.run(*segments(program), accumulate=True)
        for n in case.differentiable:
            assert error(instance.gradient(n), 2 * wanted[n]) < LIMIT[precision], n


def test_what_is_rounded_serves_forward_and_backward():
    """conv2d: an image, a filter, and the gradient that arrives, as image and as matrix."""
    made = build("conv2d", CASES[5], precision="bf16")
    program, _ = program_of(made, "bf16")
    kernels = [s.kernel for s in program.steps]
    assert kernels.count("round_filter") == 1 and kernels.count("round_pixels") == 2 and kernels.count("round_to_bf16") == 1


@pytest.mark.parametrize("pattern, by", [
    (r"cp\.async\.wait_group 1;", "cp.async.wait_group 2;"), (r"bar\.sync\s+0;", ""), (r"cp\.async\.commit_group;", ""),
], ids=["a wait for one too few", "no barrier", "no groups"])  # fmt: skip
def test_planted_faults(pattern, by, monkeypatch):
    """conv2d: in the kernel of the gradient by the images."""
    made = build("conv2d", CASES[0], precision="bf16")
    program, _ = program_of(made, "bf16")
    ptx, wanted = cuda_table().ptx("conv2d_data_panels"), CASES[0].gradients(*douts(CASES[0]))["x"]
    broken, count = re.subn(pattern, by, ptx)
    assert count
    from ptx import device

    whole = device.kernel_of
    monkeypatch.setattr(device, "kernel_of", lambda n, d: parse(broken) if n == "conv2d_data_panels" else whole(n, d))
    seen = False
    for seed in (None, 1, 2):
        instance = start(made, program, shuffle=seed)
        try:
            instance.run(*segments(program))
            seen = seen or not error(instance.gradient("x"), wanted) < LIMIT["bf16"]
        except PtxError as fault:
            assert "a race" in str(fault)
            seen = True
    assert seen
