"""`precision="int8"`: weights are quantized once by column, rows when they come, sums are whole numbers.

Every product is compared with float64 on the quantized factors, so the tolerance is that of one rounding."""
from __future__ import annotations

import pytest
from ops.at_level import printed
from ops.matmul import int8_products


@pytest.fixture(scope="module")
def products() -> dict:
    return printed(int8_products.__file__, "v4_bf16", "avx512_vnni")


def test_products_of_quantized_factors(products):
    wrong = {name: r["error"] for name, r in products.items() if not r["error"] < 1e-6}
    assert not wrong


def test_int8_kernels_were_used(products):
    for name, r in products.items():
        kind = name.partition("-")[0]
        made = {"nn": {"quantized_nn", "quantized_rows", "int8_product"}, "nt": {"quantized_nt", "quantized_rows", "int8_product"},
                "sum": {"quantized_nt", "quantized_rows", "int8_product"}}
        if kind != "few weights":
            assert set(r["kernels"]) == made.get(kind, {"quantized_nn", "quantized_rows", "int8_dense"}), name


def test_rows_that_two_products_read_are_quantized_once(products):
    assert sorted(products["sum"]["kernels"]) == ["int8_product"] * 2 + ["quantized_nt"] * 2 + ["quantized_rows"]


def test_few_weights_stay_float32(products):
    assert not any("int8" in kernel or "quantized" in kernel for kernel in products["few weights"]["kernels"])


def test_threads_do_not_matter(products):
    assert all(r["equal"] for r in products.values())


def test_nan_and_infinity_stay(products):
    """In every product of the row that has them; relu takes NaN through, tanh has a bound."""
    for name, r in products.items():
        if name.partition("-")[0] in ("nn", "nt", "sum"):
            assert r["finite beside"] == [False, False], name


def test_rows_of_zeros_give_the_bias(products):
    for name, r in products.items():
        if name.partition("-")[0] in ("nn", "nt", "sum", "tanh"):
            assert set(r["of zeros"]) == {0.0}, name


def test_other_levels_multiply_in_float32():
    made = printed(int8_products.__file__, "v3", "AVX2")
    assert not any("int8" in kernel for r in made.values() for kernel in r["kernels"])
    assert all(r["error"] < 0.05 for name, r in made.items() if not name.startswith("tanh"))


def test_training_stays_as_it_is():
    """A weight that a program trains is not quantized."""
    from dlcore.graph import Graph, plan
    from dlcore.ops import dense
    graph = Graph(precision="bf16")
    x, weight = graph.input("x", 20, 40), graph.weight("weight", 40, 30)
    out = dense(x, weight)
    program = plan(graph, {"out": out}, gradients={out: [weight]})
    assert not any("int8" in str(step["kernel"]) for step in program.table())
