"""`precision="bf16"`: images and filters are rounded to bf16 while they are packed, sums are float32.

Every convolution is compared with the exact one of the rounded operands, so the tolerance is that of float32 sums.  Where no two
elements of K lie side by side, the arithmetic is float32, and so is the comparison."""
from __future__ import annotations

import pytest
from ops.at_level import printed
from ops.conv2d import bf16_convolutions


@pytest.fixture(scope="module")
def found() -> dict:
    return printed(bf16_convolutions.__file__, "v4_bf16", "avx512_bf16")


def of(found: dict, cases: dict) -> dict:
    return {name: r for name, r in found.items() if name.rpartition("-")[0] in cases}


def test_convolutions_of_rounded_operands(found):
    wrong = {name: r["error"] for name, r in found.items() if not r["error"] < 2e-6}
    assert not wrong


def test_bf16_kernels_were_used(found):
    assert all(any("bf16" in kernel for kernel in r["kernels"]) for r in of(found, bf16_convolutions.CASES).values())


def test_what_has_no_pairs_stays_float32(found):
    kernels = [kernel for r in of(found, bf16_convolutions.FLOAT).values() for kernel in r["kernels"]]
    assert kernels and not any("bf16" in kernel for kernel in kernels)


def test_threads_do_not_matter(found):
    assert all(r["equal"] for r in found.values())


def test_a_nan_is_seen_where_it_is_used_and_nowhere_else(found):
    assert not [name for name, r in found.items() if not r["nan"]]
