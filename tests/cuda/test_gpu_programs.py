"""What the rooms' small cases in float32 do not bring to a GPU: tensor cores in whole steps, long rows, wide recurrent layers,
updates.  And that there is no kernel which no test on a GPU runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from ops.harness import build, cases, douts, outputs_of, run_gradients, segments
from optim import test_optimizers, test_sparse
from optim.test_optimizers import RULES, SHAPES, Training, gradients_of
from ptx.gpu import gpu, reason
from ptx.shapes import ATTENTION, LARGE, error, large_product

from dlcore.graph import Graph, plan
from dlcore.ops import conv2d, dense, softmax_cross_entropy
from dlcore.ops.case import Case
from dlcore.ops.gru.ref import gru, gru_backward
from dlcore.ops.lstm.ref import lstm, lstm_backward
from dlcore.ops.matmul import sample_norms
from dlcore.ops.rnn.ref import inputs, padded, rnn, rnn_backward
from dlcore.optim import SGD
from dlcore.runtime.cuda_table import cuda_table

LIMIT = {"float32": 5e-6, "bf16": 2e-2, "tf32x3": 5e-6}  # of a norm


def of_gpu(params: list) -> list:
    missing = reason()
    skip = pytest.mark.skip(reason=f"no GPU: {missing}")
    return [pytest.param(*p.values, id=p.id, marks=skip) for p in params[:1]] if missing else params


# ---- steps: an op and its gradients, beside the processor's -------------------------------------------------------------
@dataclass(frozen=True)
class Step:
    """sizes: of the leaves, all weights;  op: what is made of them;  targets: classes of rows."""

    precision: str
    sizes: dict[str, tuple[int, ...]]
    op: Callable[..., Any]
    targets: int = 0

    def planned(self, table: Any = None) -> tuple[Any, Any]:
        graph = Graph(precision=self.precision)
        leaves = [graph.weight(n, *s) for n, s in self.sizes.items()]
        given = [graph.input("t", self.sizes["x"][0], dtype="i32")] if self.targets else []
        out = self.op(*leaves, *given)
        return plan(graph, {"out": out}, {out: leaves}, {out: graph.input("seed", *out.shape)}, table=table), out

    def run(self) -> dict[str, np.ndarray]:
        """Output and gradients, on the device that is set."""
        rng, (program, out) = np.random.default_rng(0), self.planned()
        instance = program.bind()
        for name, size in self.sizes.items():
            instance[name][...] = rng.standard_normal(size, np.float32) * (1 if len(size) < 2 else np.prod(size[:-1]) ** -0.25)
        instance["seed"][...] = rng.standard_normal(out.shape, np.float32)
        if self.targets:
            instance["t"][...] = rng.integers(-1, self.targets, self.sizes["x"][0])
        instance.run(*segments(program))
        return {"out": instance["out"].copy()} | {name: instance.gradient(name).copy() for name in self.sizes}


def dense_of(M: int, K: int, N: int) -> dict[str, tuple[int, ...]]:
    return {"x": (M, K), "w": (K, N), "b": (N,)}


def images_of(B: int, H: int, W: int, C: int, N: int) -> dict[str, tuple[int, ...]]:
    return {"x": (B, H, W, C), "w": (3, 3, C, N), "b": (N,)}


def convolution(x: Any, w: Any, b: Any) -> Any:
    return conv2d(x, w, b, padding="same", stride=2, activation="tanh")


STEPS = {
    f"{name}-{precision}": Step(precision, sizes, op)
    for precision in LIMIT
    for name, sizes, op in (
        ("dense-large", dense_of(2060, 64, 2100), lambda x, w, b: dense(x, w, b, "gelu")),
        ("dense-middle", dense_of(1030, 96, 1100), lambda x, w, b: dense(x, w, b, "silu")),
        ("dense-less", dense_of(300, 71, 401), lambda x, w, b: dense(x, w, b, "tanh")),
        ("dense-many-rows", dense_of(5003, 33, 130), lambda x, w, b: dense(x, w, b)),
        ("conv2d-large", images_of(8, 31, 66, 32, 72), convolution),
        ("conv2d-less", images_of(2, 9, 11, 8, 12), convolution),
        ("conv2d-plain", {"x": (2, 9, 11, 8), "w": (3, 3, 8, 12)}, lambda x, w: conv2d(x, w, padding="same")),
    )
}
STEPS |= {
    f"cross_entropy-{C}": Step("float32", {"x": (70, C)}, lambda x, t: softmax_cross_entropy(x, t, 0.1), C) for C in (1024, 5003)
}


@pytest.mark.parametrize("step", of_gpu([pytest.param(s, id=f"gpu-{name}") for name, s in STEPS.items()]))
def test_steps(step, request):
    wanted = Step("float32", step.sizes, step.op, step.targets).run()
    with gpu(request):
        found = step.run()
    for name in wanted:
        assert np.linalg.norm(found[name] - wanted[name]) < LIMIT[step.precision] * np.linalg.norm(wanted[name]), name


# ---- attention on tensor cores, wide recurrent layers: beside float64 ------------------------------------------------------
@pytest.mark.parametrize("case", of_gpu([pytest.param(c, id=f"gpu-attention-bf16-{c.id}") for c in ATTENTION]))
def test_attention(case, request):
    with gpu(request):
        found = run_gradients("attention", case, precision="bf16")
    assert error(found["out0"], case.expected()[0]) < 1e-2
    wanted = case.gradients(*douts(case))
    for name in case.differentiable:
        assert error(found[f"d{name}"], wanted[name]) < 1.5e-2, name
        assert error(found[f"d{name} accumulated"], 2 * wanted[name]) < 1.5e-2, name


ROOMS = {"lstm": (lstm, lstm_backward, 4, ("h0", "c0"), ()), "gru": (gru, gru_backward, 3, ("h0",), (2,)),
         "rnn": (rnn, rnn_backward, 1, ("h0",), ())}  # fmt: skip


def recurrent(room: str, B: int, T: int, H: int) -> Case:
    reference, backward, gates, states, bias = ROOMS[room]
    made = inputs(B, T, 3, H, gates, states, bias, padded(B, T))
    learned = ["x", "kernel", "recurrent", "bias", *states]
    return Case(room, f"{H}", made, reference, backward, learned, tolerance=1e-5, gradient_tolerance=1e-4)


RECURRENT = [(room, recurrent(room, *sizes)) for room in ROOMS for sizes in (
    (3, 5, 64), (5, 4, 101), (2, 3, 128), (9, 4, 203), (4, 40, 256), (9, 3, 300), (17, 2, 512), (2, 2, 600))]  # fmt: skip


@pytest.mark.parametrize("room, case", of_gpu([pytest.param(r, c, id=f"gpu-{r}-{c.id}") for r, c in RECURRENT]))
def test_recurrent_layers(room, case, request):
    with gpu(request):
        found = run_gradients(room, case)
    for k, e in enumerate(case.expected()):
        assert error(found[f"out{k}"], e) < case.tolerance
    wanted = case.gradients(*douts(case))
    for name in case.differentiable:
        assert error(found[f"d{name}"], wanted[name]) < case.gradient_tolerance, name


# ---- updates -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("optimizer, rule, options", of_gpu([
    pytest.param(*rule, id=f"gpu-{type(rule[0]).__name__}-{n}") for n, rule in enumerate(RULES)
]))  # fmt: skip
def test_updates(optimizer, rule, options, request):
    with gpu(request):
        training, states = Training(optimizer), {name: {} for name in SHAPES}
        expected = {name: training.instance[name].astype(np.float64) for name in SHAPES}
        for step in (1, 2, 3):
            training.step(gradients_of(step), step, 0.05 / step)
            for name, g in gradients_of(step).items():
                expected[name] = rule(expected[name], g.astype(np.float64), states[name], 0.05 / step, step, **options)
        for name in SHAPES:
            np.testing.assert_allclose(training.instance[name], expected[name], rtol=0, atol=5e-6)


@pytest.mark.parametrize("optimizer, rule, options", of_gpu([
    pytest.param(*rule, id=f"gpu-rows-{n}") for n, rule in enumerate(test_sparse.RULES)
]))  # fmt: skip
def test_updates_of_rows(optimizer, rule, options, request):
    with gpu(request):
        training, states = test_sparse.Rows(optimizer), [{} for _ in range(test_sparse.V)]
        expected = training.instance["table"].astype(np.float64)
        for step in (1, 2):
            ids, x = test_sparse.batch(step)
            got, g = training.step(ids, x, step, 0.05 / step), test_sparse.dense(ids, x)
            for v in np.unique(ids):
                expected[v] = rule(expected[v], g[v], states[v], 0.05 / step, step, **options)
    np.testing.assert_allclose(got, expected, rtol=0, atol=5e-6)


EMA = SGD(momentum=0.9, use_ema=True, ema_momentum=0.5)


@pytest.mark.parametrize("optimizer", of_gpu([pytest.param(EMA, id="gpu-average")]))
def test_averages(optimizer, request):
    def run():
        training = Training(optimizer)
        for step in (1, 2):
            training.step(gradients_of(step), step, 0.05)
        return {name: training.instance[name].copy() for name in training.instance.program.leaves if "/ema/" in name}

    wanted = run()
    with gpu(request):
        found = run()
    assert wanted and all(np.allclose(found[name], wanted[name], rtol=0, atol=2e-6) for name in wanted)


# ---- norms of samples' gradients ----------------------------------------------------------------------------------------
def norms_of(values: dict[str, np.ndarray], table: Any = None) -> Any:
    graph = Graph()
    x, d = (graph.input(name, *v.shape) for name, v in values.items())
    return plan(graph, {"out": sample_norms(x, d, d)}, table=table)


SAMPLES = {name: np.random.default_rng(n).standard_normal((7, n), np.float32) for n, name in ((70, "x"), (33, "d"))}


@pytest.mark.parametrize("values", of_gpu([pytest.param(SAMPLES, id="gpu-norms")]))
def test_norms_of_samples(values, request):
    with gpu(request):
        (found,) = norms_of(values).bind().call(tuple(values.values()))
    x, d = (v.astype(np.float64) for v in values.values())
    np.testing.assert_allclose(found, (d * d).sum(1) * ((x * x).sum(1) + 1), rtol=1e-5)


# ---- which kernels these tests run ----------------------------------------------------------------------------------------
class Planned(Exception):
    """The plan of an update is what was wanted of it."""


def planned_updates(monkeypatch, table: Any) -> set[str]:
    found: set[str] = set()

    def planned(*arguments: Any, **options: Any) -> None:
        found.update(step.kernel for step in plan(*arguments, **options, table=table).steps)
        raise Planned

    makers = [(test_optimizers, Training, [*(r[0] for r in RULES), EMA])]
    makers += [(test_sparse, test_sparse.Rows, [r[0] for r in test_sparse.RULES])]
    for module, maker, optimizers in makers:
        monkeypatch.setattr(module, "plan", planned)
        for optimizer in optimizers:
            with pytest.raises(Planned):
                maker(optimizer)
    return found


def test_every_kernel_runs_on_a_gpu(monkeypatch):
    """These tests and those of test_gpu.py leave none out: what is added here or there is proven where there is a GPU."""
    table, found = cuda_table(), planned_updates(monkeypatch, cuda_table())
    programs = [step.planned(table)[0] for step in STEPS.values()] + [norms_of(SAMPLES, table)]
    more = [(room, case, "float32") for room, case in RECURRENT] + [("attention", case, "bf16") for case in ATTENTION]
    for room, case, precision in [(*p.values, "float32") for p in cases()] + more:
        made = build(room, case, precision=precision)
        programs.append(plan(made.graph, outputs_of(made), **(made.by_all() if case.differentiable else {}), table=table))
    for precision, form in LARGE:
        values, op, _ = large_product(form)
        graph = Graph(precision=precision)
        programs.append(plan(graph, {"out": op(*(graph.input(n, *v.shape) for n, v in values.items()))}, table=table))
    found |= {step.kernel for program in programs for step in program.steps}
    assert {name for name, call in table.calls.items() if call["entries"]} - found == set()
