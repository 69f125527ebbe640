"""`precision="bf16"`: operands are rounded to bf16 while they are packed, sums are float32.

Every product is compared with the exact product of the rounded operands, so the tolerance is that of float32 sums."""
from __future__ import annotations

import numpy as np
import pytest
from ops.at_level import printed
from ops.matmul import bf16_products


@pytest.fixture(scope="module")
def products() -> dict:
    return printed(bf16_products.__file__, "v4_bf16", "avx512_bf16")


def test_products_of_rounded_operands(products):
    wrong = {name: r["error"] for name, r in products.items() if not r["error"] < 2e-6}
    assert not wrong


def test_bf16_kernels_were_used(products):
    assert all(any("bf16" in kernel for kernel in r["kernels"]) for name, r in products.items() if not name.startswith("held"))


def test_held_weights_are_rounded_once_and_read_as_halves(products):
    held = {name: {kernel.partition("[")[0] for kernel in r["kernels"]} for name, r in products.items() if name.startswith("held")}
    parted = {name for name, kernels in held.items() if "half_parts" in kernels}
    assert parted == {"held-dense-3x611x437", "held-dense-16x1301x515"}
    for name, kernels in held.items():
        kind = name.split("-")[1]
        assert kernels == ({"halved", "half_parts", "parts_sum"} if name in parted else {"halved", f"half_{kind}"}), name


def test_training_rounds_no_copies():
    """A weight that a program trains is read as it lies."""
    from dlcore.graph import Graph, plan
    from dlcore.ops import dense
    graph = Graph(precision="bf16")
    x, weight = graph.input("x", 1, 40), graph.weight("weight", 40, 30)
    out = dense(x, weight)
    program = plan(graph, {"out": out}, gradients={out: [weight]})
    assert not any(str(step["kernel"]).startswith("half") for step in program.table())


def test_threads_do_not_matter(products):
    assert all(r["equal"] for r in products.values())


def test_nan_and_infinity_stay(products):
    assert products["nn-13x17x33"]["special"] == ["nan", "inf", "-inf"]
    for name in ("held-nt-3x611x437", "held-dense-1x40x300"):
        assert products[name]["special"][0] == "nan"


def test_rounding_is_to_nearest_even():
    x = np.array([1.0, 1 + 2**-8, 1 + 3 * 2**-8, -1 - 2**-8, 1 + 2**-8 + 2**-20, 3.4e38, np.inf], np.float32)
    expected = np.array([1.0, 1.0, 1 + 2**-6, -1.0, 1 + 2**-7, np.inf, np.inf], np.float32)
    np.testing.assert_array_equal(bf16_products.rounded(x), expected)
