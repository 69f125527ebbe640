"""Kernels and training steps on a GPU, beside PyTorch's, in one command of at most ten minutes.

    python benchmarks/gpu.py [--peer PYTHON] [--json FILE] [--rounds N] [--only WORD] [--begin CASE]

For each case dlcore and, where `--peer` names a Python with CUDA's torch, torch (whole training steps also compiled) take turns;
reported are medians of microseconds, the TFLOP/s, GB/s or items/s they amount to, and the median of the ratios of neighbouring
turns.  `copy` is the bandwidth that memory-bound kernels can be held against.  dlcore's kernels are timed by events on the GPU,
its training steps as `fit` runs them (the time of each kernel stands in the JSON file); torch's by the clock over calls that are
put into the stream one behind the other.  In bf16 torch's operands of single operations are bf16 in memory; dlcore's are float32,
and the time to round them is part of the call's.

A kernel that fails takes the GPU from its process: the next cases are run by a new one.  One that never ends is ended after a
minute, with the process: `--begin` goes on with a later case.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import dlcore
from dlcore import ops
from dlcore.errors import DlcoreError
from dlcore.graph import Graph, plan
from dlcore.optim import AdamW
from dlcore.runtime.cuda_driver import Launches

PEER = Path(__file__).parent / "peers" / "gpu_torch.py"
REPEATS, TURN = 200, 0.3  # runs of a turn at most, and seconds that they may take


@dataclass(frozen=True)
class Case:
    """What is run.  flops, bytes: of one run.  sizes: those that its maker is called with.  items: samples or tokens of a step."""

    name: str
    make: str
    sizes: tuple[int, ...]
    flops: float = 0.0
    bytes: float = 0.0
    items: int = 0
    precision: str = "float32"


def product(n: int, precision: str) -> Case:
    return Case(f"matmul {n} {precision}", "matmul", (n, n, n), flops=2 * n**3, precision=precision)


def attentions(B: int, T: int, H: int, D: int) -> tuple[Case, Case]:
    """Causal, so half of the scores are made; a step is forward and backward, 7 products in the place of 2."""
    flops = 2 * B * H * T * T * D
    return (
        Case(f"attention {B}x{T}x{H}x{D} forward", "attention", (B, T, H, D), flops=flops, precision="bf16"),
        Case(f"attention {B}x{T}x{H}x{D} step", "attention_step", (B, T, H, D), flops=7 * flops / 2, precision="bf16"),
    )


def language_model(name: str, B: int, V: int, T: int, L: int, H: int, C: int, precision: str) -> Case:
    return Case(f"{name}, batch {B}, {precision}, step", "language_model", (B, V, T, L, H, C), items=B * T, precision=precision)


GPT2 = (50304, 1024, 12, 12, 768)
CASES = (
    Case("copy 256 MB", "copy", (1 << 26,), bytes=2 * 4 * (1 << 26)),
    product(1024, "float32"), product(4096, "float32"), product(4096, "tf32x3"),
    product(1024, "bf16"), product(4096, "bf16"), product(8192, "bf16"),
    *attentions(16, 1024, 12, 64), *attentions(4, 4096, 16, 128),
    Case("layernorm 16384x768 forward", "layernorm", (16384, 768), bytes=2 * 4 * 16384 * 768),
    Case("layernorm 16384x768 step", "layernorm_step", (16384, 768), bytes=7 * 4 * 16384 * 768),
    Case("cross-entropy 8192x50257 forward", "cross_entropy", (8192, 50257), bytes=4 * 8192 * 50257),
    Case("cross-entropy 8192x50257 step", "cross_entropy_step", (8192, 50257), bytes=3 * 4 * 8192 * 50257),
    Case("adamw 124M", "adamw", (124_000_000,), bytes=7 * 4 * 124e6),
    Case("W1: mlp 784-256-128-10, batch 64, step", "mlp", (64, 784, 256, 128, 10), items=64),
    Case("W2: text, batch 32, step", "text", (32, 100, 10000, 128, 64, 10), items=32),
    language_model("W4: nano-s", 12, 65, 64, 4, 4, 128, "float32"), language_model("W4: nano-b", 16, 65, 256, 6, 6, 384, "bf16"),
    language_model("GPT-2 124M", 16, *GPT2, "bf16"), language_model("GPT-2 124M", 32, *GPT2, "bf16"),
)  # fmt: skip
MODELS = ("mlp", "text", "language_model")  # whole training steps, which PyTorch also compiles


class Kernels:
    """The calls of a program whose memory lies on the GPU, those too that a model would have prepared once."""

    def __init__(self, instance: Any) -> None:
        steps = range(len(instance.program.steps))
        self.longest = 0.0  # of its calls: a product without the rounding of its operands
        self.instance, self.launches = instance, Launches(instance.device.context, [instance._call(n) for n in steps], timed=True)

    def __call__(self) -> float:
        """Seconds of one run, by the GPU's clock: between events before the first and behind the last kernel."""
        self.launches.begin()
        self.launches.finish()
        spans = self.launches.spans()
        self.longest = max(spans)
        return sum(spans)


class Steps:
    """Training steps of a model as `fit` makes them: on rows of a data set that lies on the GPU, one behind the other."""

    def __init__(self, model: Any, x: np.ndarray, y: np.ndarray, batch: int) -> None:
        self.model, self.x, self.y, self.batch, self.count = model, x, y.astype(np.int32), batch, len(x) // batch
        self()

    def __call__(self) -> float:
        """Seconds of a step, on average over an epoch."""
        begin = time.perf_counter()
        self.model.fit(self.x, self.y, batch_size=self.batch, epochs=1, verbose=0)
        return (time.perf_counter() - begin) / self.count

    def calls(self) -> dict[str, list[float]]:
        """Kernel -> [calls in a step, microseconds of all], by events in the graph of a step on one batch; longest first."""
        from dlcore.training.programs import signature

        x, y = self.x[: self.batch], self.y[: self.batch]
        self.model.train_on_batch(x, y)
        runner = self.model.programs.runner(signature(self.model, "train", self.batch, [x], [y]))
        runner.put([x, y])
        runner.instance.run(lr=1e-4, step=10)
        found: dict[str, list[float]] = {}
        for step, span in zip(runner.instance.program.steps, runner.instance.time(5), strict=True):
            known = found.setdefault(step.kernel, [0, 0.0])
            known[0] += 1
            known[1] += 1e6 * span
        return dict(sorted(found.items(), key=lambda item: -item[1][1]))


class Programs:
    """Makers of runs, by the names that cases give: `Kernels` or `Steps`."""

    def __init__(self, precision: str) -> None:
        self.graph, self.rng = Graph(precision=precision), np.random.default_rng(0)

    def filled(self, outputs: dict[str, Any], **more: Any) -> Kernels:
        program = plan(self.graph, outputs, **more)
        instance = program.bind()
        for name, (_, _, shape, dtype) in program.leaves.items():
            if dtype == "f32":
                instance[name][...] = self.rng.standard_normal(shape, np.float32)
        slots = {name: value for name, value in (("lr", 1e-3), ("step", 1)) if name in program.slots}
        instance.run(**slots)
        return Kernels(instance)

    def copy(self, n: int) -> Kernels:
        return self.filled({"out": ops.scale(self.graph.statistic("x", n), 1.0)})

    def matmul(self, m: int, n: int, k: int) -> Kernels:
        return self.filled({"out": ops.matmul(self.graph.statistic("a", m, k), self.graph.statistic("b", k, n))})

    def attention(self, b: int, t: int, h: int, d: int) -> Kernels:
        return self.filled({"out": ops.packed_attention(self.graph.statistic("qkv", b, t, 3 * h, d), h, causal=True)})

    def attention_step(self, b: int, t: int, h: int, d: int) -> Kernels:
        qkv = self.graph.weight("qkv", b, t, 3 * h, d)
        out = ops.packed_attention(qkv, h, causal=True)
        return self.filled({"out": out}, gradients={out: [qkv]})

    def layernorm(self, n: int, c: int) -> Kernels:
        w, b = self.graph.statistic("w", c), self.graph.statistic("b", c)
        return self.filled({"out": ops.layernorm(self.graph.statistic("x", n, c), w, b)})

    def layernorm_step(self, n: int, c: int) -> Kernels:
        x, w, b = (self.graph.weight(name, *shape) for name, shape in (("x", (n, c)), ("w", (c,)), ("b", (c,))))
        out = ops.layernorm(x, w, b)
        return self.filled({"sum": ops.row_sum(out)}, gradients={out: [x, w, b]})

    def cross_entropy(self, n: int, c: int) -> Kernels:
        targets = self.graph.input("targets", n, dtype="i32")
        return self.filled({"out": ops.softmax_cross_entropy(self.graph.statistic("x", n, c), targets)})

    def cross_entropy_step(self, n: int, c: int) -> Kernels:
        targets, x = self.graph.input("targets", n, dtype="i32"), self.graph.weight("x", n, c)
        loss = ops.softmax_cross_entropy(x, targets)
        return self.filled({"loss": loss}, gradients={loss: [x]})

    def adamw(self, n: int) -> Kernels:
        weight, x, optimizer = self.graph.weight("w", n), self.graph.statistic("x", n), AdamW()
        loss = ops.mul(weight, x)
        return self.filled({}, gradients={loss: [weight]}, updates=lambda: optimizer.update(self.graph, [weight]))

    def mlp(self, batch: int, *sizes: int) -> Steps:
        layers = dlcore.layers
        dense = [layers.Dense(n, activation="relu") for n in sizes[1:-1]]
        model = dlcore.Sequential([*dense, layers.Dense(sizes[-1], activation="softmax")])
        model.compile("adam", "sparse_categorical_crossentropy")
        rows = 2000 * batch
        x = self.rng.standard_normal((rows, sizes[0]), np.float32)
        return Steps(model, x, self.rng.integers(0, sizes[-1], rows), batch)

    def text(self, batch: int, steps: int, ids: int, wide: int, hidden: int, classes: int) -> Steps:
        layers = dlcore.layers
        lstm = layers.Bidirectional(layers.LSTM(hidden, return_sequences=True))
        model = dlcore.Sequential([layers.Input((steps,), "int32"), layers.Embedding(ids, wide), lstm,
                                   layers.GlobalAveragePooling1D(), layers.Dense(classes, activation="softmax")])  # fmt: skip
        model.compile("adam", "sparse_categorical_crossentropy")
        rows = 200 * batch
        x = self.rng.integers(0, ids, (rows, steps)).astype(np.int32)
        return Steps(model, x, self.rng.integers(0, classes, rows), batch)

    def language_model(self, batch: int, vocabulary: int, steps: int, depth: int, heads: int, wide: int) -> Steps:
        ids = dlcore.layers.Input((steps,), "int32")
        model = dlcore.Model(ids, dlcore.layers.CausalLM(vocabulary, steps, depth, heads, wide)(ids))
        loss = dlcore.training.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(AdamW(1e-4, 0.9, 0.99, weight_decay=0.1), loss, precision=self.graph.precision)
        rows = batch * (8 if wide > 512 else 100)
        x, y = self.rng.integers(0, min(vocabulary, 50257), (2, rows, steps)).astype(np.int32)
        return Steps(model, x, y, batch)


class Torch:
    """A process of PyTorch's that runs the same cases when it is asked."""

    def __init__(self, python: str) -> None:
        self.process = subprocess.Popen([python, str(PEER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def seconds(self, case: Case, repeats: int, compiled: bool) -> float:
        """Of one run, on average; raises RuntimeError where the case failed there."""
        assert self.process.stdin is not None and self.process.stdout is not None
        words = {"make": case.make, "sizes": case.sizes, "precision": case.precision, "repeats": repeats, "compiled": compiled}
        self.process.stdin.write(json.dumps(words) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline() or '{"failed": "it has ended"}')
        if "failed" in answer:
            raise RuntimeError(answer["failed"])
        return float(answer["seconds"])


def seconds(run: Callable[[], Any], repeats: int) -> float:
    """Of one run, on average."""
    if isinstance(run, Kernels):
        return sum(run() for _ in range(repeats)) / repeats
    if isinstance(run, Steps):
        return run()
    begin = time.perf_counter()
    for _ in range(repeats):
        run()
    return (time.perf_counter() - begin) / repeats


def measured(case: Case, peer: Torch | None, rounds: int) -> dict[str, Any]:
    """The row of a case: medians over rounds, in which dlcore, torch, and torch compiled take turns."""
    run = getattr(Programs(case.precision), case.make)(*case.sizes)
    faulthandler.dump_traceback_later(60, exit=True)
    run()
    repeats = max(3, min(REPEATS, int(TURN / max(seconds(run, 2), 1e-6))))
    faulthandler.cancel_dump_traceback_later()
    kinds = {"torch": False} | ({"torch_compiled": True} if case.make in MODELS else {}) if peer is not None else {}
    ours: list[float] = []
    theirs: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(rounds):
        ours.append(seconds(run, repeats))
        for kind, compiled in kinds.items():
            assert peer is not None
            theirs[kind].append(peer.seconds(case, repeats, compiled))
    own = statistics.median(ours)
    row: dict[str, Any] = {"case": case.name, "dlcore_us": 1e6 * own}
    row |= {"longest_call_us": 1e6 * run.longest} if case.make == "matmul" else {}
    row |= {"tflops": case.flops / own / 1e12} if case.flops else {}
    row |= {"gb_per_s": case.bytes / own / 1e9} if case.bytes else {}
    row |= {"items_per_s": case.items / own} if case.items else {}
    for kind, found in theirs.items():
        row[f"{kind}_us"] = 1e6 * statistics.median(found)
        row[f"{kind}_over_dlcore"] = statistics.median(t / o for t, o in zip(found, ours, strict=True))
    return row | ({"calls": run.calls()} if isinstance(run, Steps) else {})


def host_time(steps: int = 2000) -> dict[str, Any]:
    """Of a whole step whose only kernel takes next to no time, waited for: an upper limit of what the processor spends on one."""
    graph = Graph()
    instance = plan(graph, {"out": ops.relu(graph.input("x", 32))}).bind()
    instance.run()
    return {"case": "host time of a step", "dlcore_us": 1e6 * seconds(instance.run, steps)}


def start_again(begin: int, left: float) -> None:
    """This program anew, from a case on: what came before stands in the file."""
    if begin < len(CASES):
        script, given = sys.argv[0], sys.argv[1:]
        os.execv(sys.executable, [sys.executable, script, *given, "--begin", CASES[begin].name, "--seconds", str(left)])


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--peer", default="", help="a Python with CUDA's torch")
    parser.add_argument("--json", default="", help="also write the figures here, after each case")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="cases whose name holds this")
    parser.add_argument("--begin", default=CASES[0].name, choices=[c.name for c in CASES], help="the first case", metavar="CASE")
    parser.add_argument("--seconds", type=float, default=540, help="no case is begun later than this")
    parser.add_argument("--device", default="cuda")
    options = parser.parse_args(arguments)
    try:
        print(reason := dlcore.set_device(options.device))
    except DlcoreError as fault:
        print(fault, file=sys.stderr)
        return fault.exit_code
    peer = Torch(options.peer) if options.peer else None
    first, began = [c.name for c in CASES].index(options.begin), time.monotonic()
    rows = json.loads(Path(options.json).read_text())["rows"] if first and options.json else [host_time()]
    for n, case in enumerate(CASES):
        if n < first or options.only not in case.name:
            continue
        again = False
        if time.monotonic() - began > options.seconds:
            rows.append({"case": case.name, "failed": "no time was left"})
        else:
            try:
                rows.append(measured(case, peer, options.rounds))
            except (DlcoreError, RuntimeError) as fault:  # a case that does not fit a GPU leaves the others their place
                rows.append({"case": case.name, "failed": str(fault).partition("\n")[0]})
                again = "must be started again" in getattr(fault, "hint", "")
        shown = {k: v for k, v in rows[-1].items() if k != "calls"}
        print("  ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{v:40}" for k, v in shown.items()), flush=True)
        if options.json:
            Path(options.json).write_text(json.dumps({"device": reason, "rows": rows}, indent=1) + "\n")
        if again:
            start_again(n + 1, options.seconds - (time.monotonic() - began))
    return 0


if __name__ == "__main__":
    sys.exit(main())
