"""Recurrent kernels whose matrix stays in registers: those of clusters too, interpreted at small sizes; faults planted."""

from __future__ import annotations

import re

import numpy as np
import pytest
from ops.harness import build, cases, compare, douts, outputs_of, segments
from ptx import device
from ptx.device import kernel_of, start
from ptx.parse import PtxError, parse
from ptx.products import of_any_size

from dlcore.graph import plan
from dlcore.ops.case import Case
from dlcore.ops.lstm.ref import lstm as reference
from dlcore.ops.lstm.ref import lstm_backward
from dlcore.ops.rnn.ref import inputs, padded
from dlcore.runtime.cuda_table import cuda_table

ROOMS = ("lstm", "gru", "rnn")
HOPPER = "sm_90a"


def recurrent(parameter) -> bool:
    room, case = parameter.values
    return room in ROOMS and case.op == room


def planned(room: str, made, width: int, case):
    table = of_any_size(f"{room}_forward_{width}", f"{room}_backward_{width}")
    return plan(made.graph, outputs_of(made), **made.by_all(), table=table)


def variants() -> list:
    """Each case on Hopper's kernels of all widths; two of each room on what stands in their place elsewhere."""
    found = []
    for p in filter(recurrent, cases()):
        room, case = p.values
        widths = [w for w in ((128, 256, 512) if room != "rnn" else (128, 256)) if w >= len(case.inputs["recurrent"])]
        for width in widths if len(case.inputs["recurrent"]) <= 64 else widths[:1]:
            found.append(pytest.param(room, case, width, HOPPER, id=f"{p.id}-{width}-hopper"))
            if case.id in ("odd", "right-padding"):
                found.append(pytest.param(room, case, width, "", id=f"{p.id}-{width}"))
    return found


@pytest.mark.parametrize("room, case, width, arch", variants())
def test_cases(room, case, width, arch):
    """Each room's cases on the kernels of clusters, and on those in their place elsewhere."""
    made = build(room, case)
    program = planned(room, made, width, case)
    used = {step.kernel for step in program.steps}
    assert {f"{room}_forward_{width}", f"{room}_backward_{width}"} <= used
    assert not arch or kernel_of(f"{room}_forward_{width}", "f32", arch).cluster > 1
    instance = start(made, program)
    instance.own = (arch,) if arch else ()
    instance.run(*segments(program), **case.slots)
    for k, e in enumerate(case.expected()):
        compare(f"out{k}", instance[f"out{k}"], e, case.tolerance, case.exact)
    wanted = case.gradients(*douts(case))
    for name in case.differentiable:
        compare(f"d{name}", instance.gradient(name), wanted[name], case.gradient_tolerance)


def ran(width: int, broken=None, shuffle: int | None = None, sizes: tuple[int, int, int] = (3, 4, 70)) -> float:
    """The greatest error of an LSTM's gradient of the first state; broken(ptx): the kernels with a fault."""
    B, T, H = sizes
    case = Case("lstm", "", inputs(B, T, 3, H, 4, ("h0", "c0"), (), padded(B, T)), reference, lstm_backward, ["h0"])
    made = build("lstm", case)
    instance = start(made, planned("lstm", made, width, case), shuffle)
    instance.own = (HOPPER,)
    with pytest.MonkeyPatch.context() as patch:
        if broken:
            text = cuda_table().ptx
            patch.setattr(device, "kernel_of", lambda name, dtypes, arch: parse(broken(text(name, dtypes, arch))))
        instance.run(*segments(instance.program))
    return float(np.abs(instance.gradient("h0") - case.gradients(*douts(case))["h0"]).max())


@pytest.mark.parametrize("width, sizes", [
    (64, (2, 3, 64)), (128, (3, 3, 101)), (128, (2, 2, 128)), (256, (5, 2, 203)), (256, (4, 2, 256)),
    (512, (2, 2, 300)), (512, (9, 1, 512)),
])  # fmt: skip
def test_large_states(width, sizes):
    """lstm: all blocks of a cluster have units; warps in random order where that takes seconds."""
    assert ran(width, shuffle=1 if width < 256 else None, sizes=sizes) < 1e-5


@pytest.mark.parametrize("width, pattern, by, said", [
    (64, r"bar\.sync\s+0;", "", "a race"),
    (128, r"barrier\.cluster\.(arrive\.release|wait\.acquire)\.aligned;", "", "a race"),
    (128, r"barrier\.cluster\.arrive\.release\.aligned;", "", "not arrived"),
    (128, r"barrier\.cluster\.wait\.acquire\.aligned;", "", "again|a race"),
    (128, r"barrier\.cluster\.(arrive\.release|wait\.acquire)\.aligned;", "bar.sync 0;", "in a kernel with clusters"),
    (128, r"(mapa\.shared::cluster\.u32 \w+, %r\d+, )%r\d+;", r"\g<1>1;", "a race|"),
    (128, r"st\.shared::cluster\.f32", "st.shared.f32", "is left"),
    (64, r"shfl\.sync\.bfly\.b32(.*), %r\d+, %r\d+, %r\d+;", r"shfl.sync.bfly.b32\1, 1, 31, -1;", ""),
], ids=["no barrier", "no cluster barrier", "not arrived", "no wait", "a barrier of blocks", "wrong block", "an address elsewhere",
        "wrong lane"])  # fmt: skip
def test_planted_faults(width, pattern, by, said):
    """lstm: an error that names the fault, or wrong numbers, in one of a few random orders."""
    hit = 0

    def broken(text: str) -> str:
        nonlocal hit
        made, count = re.subn(pattern, by, text)
        hit += count
        return made

    seen = False
    for seed in (None, 1, 2):
        try:
            seen = seen or not ran(width, broken, seed, (2, 3, 64) if width == 64 else (3, 3, 70)) < 1e-5
        except PtxError as error:
            assert re.search(said, str(error)), error
            seen = True
    assert hit and seen
