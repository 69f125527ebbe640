"""Attention on tensor cores: the room's cases, and the edges of tiles of 128 queries, 64 or 32 keys, and 64 rows in backward."""

from __future__ import annotations

import numpy as np
import pytest
from ops.harness import build, douts, outputs_of, segments
from ptx.device import start

from dlcore.graph import plan
from dlcore.ops.attention.ref import case, packed
from dlcore.runtime.cuda_table import cuda_table

CASES = [
    case("one", 1, 1, 1, 1, 1, 4),
    case("a-tile", 1, 64, 64, 1, 1, 64),
    case("causal", 1, 70, 70, 2, 1, 64, causal=True),
    case("padding", 2, 9, 37, 1, 1, 20, masked=True),
    case("window", 1, 140, 140, 1, 1, 8, window=9, causal=True),
    case("queries-after-keys", 1, 5, 75, 1, 1, 16, causal=True),
    case("more-queries-than-keys", 1, 75, 7, 2, 2, 8, causal=True),
    case("other-values", 1, 20, 25, 2, 2, 12, 20, scale=0.7),
    case("wide", 1, 33, 65, 1, 1, 128),
    case("wide-causal", 1, 66, 70, 1, 1, 100, causal=True, masked=True),
    packed("packed", 3, 35, 3, 3, 16, causal=True),
    packed("packed-grouped", 4, 37, 4, 2, 16, masked=True),
    packed("packed-wide", 4, 33, 2, 2, 72, causal=True),
]


def error(found, wanted) -> float:
    """Of all numbers together, relative; where the right ones vanish, to what they are made of."""
    return float(np.linalg.norm(found - wanted) / max(np.linalg.norm(wanted), 0.3 * np.sqrt(wanted.size)))


@pytest.mark.parametrize("case", [pytest.param(c, id=f"attention-bf16-{c.id}") for c in CASES])
def test_values_and_gradients(case):
    """Operands and probabilities have 8 bits: what they are made into is right to a hundredth, and twice that when accumulated."""
    made = build("attention", case, precision="bf16")
    program = plan(made.graph, outputs_of(made), **made.by_all(), table=cuda_table())
    width = "64" if max(v.shape[-1] for v in case.inputs.values() if v is not None and v.ndim == 4) <= 64 else "128"
    kernels = {s.kernel for s in program.steps}
    assert f"attention_forward_{width}" in kernels
    assert kernels & {f"attention_queries_{width}", f"packed_attention_gradient_{width}"}
    instance = start(made, program, shuffle=2)
    instance.run(*segments(program))
    assert error(instance["out0"], case.expected()[0]) < 1e-2
    wanted = case.gradients(*douts(case))
    assert max(error(instance.gradient(n), wanted[n]) for n in case.differentiable) < 1.5e-2
    if case.id in ("other-values", "packed"):
        instance.run(*segments(program), accumulate=True)
        assert max(error(instance.gradient(n), 2 * wanted[n]) for n in case.differentiable) < 1.5e-2


def test_other_heads_are_float32():
    made = build("attention", case("odd", 1, 9, 9, 1, 1, 5), precision="bf16")
    program = plan(made.graph, outputs_of(made), **made.by_all(), table=cuda_table())
    assert {"attention_forward", "attention_queries"} <= {s.kernel for s in program.steps}
