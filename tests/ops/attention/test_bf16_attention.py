"""`precision="bf16"`: what is multiplied is rounded to bf16 while it is packed, scores, softmax and sums are float32.

Outputs and gradients are compared with exact ones of rounded operands.  A probability that lies between two of bf16 may be
rounded the other way in float32: that is a few of a case's numbers, so errors are those of all together.  Where a query sees
several blocks of keys, what is rounded depends on the greatest score so far, and errors are those of bf16."""
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ops.at_level import printed
from ops.attention import bf16_attention

import dlcore


@pytest.fixture(scope="module")
def everything() -> dict:
    return printed(bf16_attention.__file__, "v4_bf16", "avx512_bf16")


@pytest.fixture
def found(everything) -> dict:
    return everything["bf16"]


def test_attention_of_rounded_operands(found):
    allowed = {c.id: 4e-4 for c in bf16_attention.CASES} | {c.id: 4e-3 for c in bf16_attention.ROUGH}
    assert not {name: r["error"] for name, r in found.items() if not r["error"] < allowed[name]}


def test_bf16_kernels_were_used(found):
    assert all(sum("attention" in kernel and "bf16" in kernel for kernel in r["kernels"]) == 2 for r in found.values())


def test_what_bf16_does_not_pay_for_stays_float32(everything):
    assert everything["float32"] == [["attention_blocks[f32]"]] * 2


def test_threads_do_not_matter(found):
    assert all(r["equal"] for r in found.values())


def test_a_nan_is_seen_where_it_is_used_and_nowhere_else(found):
    assert not [name for name, r in found.items() if not r["nan"]]


def test_other_levels_compute_in_float32():
    """Where there is no avx512_bf16, the same program runs float32 kernels."""
    code = ("from dlcore.graph import Graph, plan; from dlcore.ops import attention; g = Graph(precision='bf16');"
            "q = g.input('q', 1, 40, 2, 8); print([str(s['kernel']) for s in plan(g, {'out': attention(q, q, q)}).table()])")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                          env=os.environ | {"DLCORE_CPU_LEVEL": "v2", "PYTHONPATH": str(Path(dlcore.__file__).parents[1])})
    assert "attention_blocks" in done.stdout and "bf16" not in done.stdout
