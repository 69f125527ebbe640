"""Matrix products at the edges of their tiles (64 by 64, 16 deep), and summed in parts."""

from __future__ import annotations

import numpy as np
import pytest
from ptx.device import Emulated

from dlcore.graph import Graph, plan
from dlcore.ops import matmul
from dlcore.runtime.cuda_table import cuda_table

FORMS = {"nn": lambda a, b: a @ b, "nt": lambda a, b: a @ b.T, "tn": lambda a, b: a.T @ b}


@pytest.mark.parametrize("form, M, N, K", [
    pytest.param(form, *sizes, id=f"matmul-{form}-{'x'.join(map(str, sizes))}")
    for form in FORMS for sizes in ((64, 64, 16), (65, 63, 17), (130, 70, 33), (1, 129, 5))
] + [pytest.param("tn", 5, 66, 1100, id="matmul-tn-parts")])  # fmt: skip
@pytest.mark.parametrize("shuffle", [None, 3], ids=["", "shuffled"])
def test_tiles(form, M, N, K, shuffle):
    rng = np.random.default_rng(0)
    shapes = {"nn": ((M, K), (K, N)), "nt": ((M, K), (N, K)), "tn": ((K, M), (K, N))}[form]
    a, b = (rng.standard_normal(s).astype(np.float32) for s in shapes)
    graph = Graph()
    out = matmul(graph.input("a", *a.shape), graph.input("b", *b.shape), form)
    instance = Emulated(plan(graph, {"out": out}, table=cuda_table()), shuffle=shuffle)
    instance.buffers["outputs"].fill(0xFF)
    instance["a"][...], instance["b"][...] = a, b
    instance.run()
    np.testing.assert_allclose(instance["out"], FORMS[form](a.astype(np.float64), b), rtol=0, atol=2e-5 * K**0.5)
