"""Kernels and training steps on a GPU, beside PyTorch's, in one command of at most ten minutes.

    python benchmarks/gpu.py [--peer PYTHON] [--json FILE] [--rounds N] [--only WORD]

For each case dlcore and, where `--peer` names a Python with CUDA's torch, torch take turns; reported are medians of microseconds,
the TFLOP/s or GB/s they amount to, and the median of the ratios of neighbouring turns.  `copy` is the bandwidth that memory-bound
kernels can be held against.  Nothing of this has been measured yet: no GPU was at hand (docs/cuda.md).
"""

from __future__ import annotations

import argparse
import json
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

PEER = Path(__file__).parent / "peers" / "gpu_torch.py"
REPEATS = 20  # runs of a turn


@dataclass(frozen=True)
class Case:
    """What is run.  flops, bytes: of one run.  sizes: those that its maker is called with."""

    name: str
    make: str
    sizes: tuple[int, ...]
    flops: float = 0.0
    bytes: float = 0.0
    precision: str = "float32"


def product(n: int, precision: str) -> Case:
    return Case(f"matmul {n} {precision}", "matmul", (n, n, n), flops=2 * n**3, precision=precision)


CASES = (
    Case("copy 256 MB", "copy", (1 << 26,), bytes=2 * 4 * (1 << 26)),
    product(1024, "float32"), product(4096, "float32"), product(1024, "bf16"), product(4096, "bf16"), product(8192, "bf16"),
    Case("attention 4x1024x12x64 forward", "attention", (4, 1024, 12, 64), flops=2 * 4 * 12 * 1024 * 1024 * 64),
    Case("attention 4x1024x12x64 step", "attention_step", (4, 1024, 12, 64), flops=7 * 4 * 12 * 1024 * 1024 * 64),
    Case("layernorm 16384x768", "layernorm", (16384, 768), bytes=2 * 4 * 16384 * 768),
    Case("cross-entropy 8192x50257", "cross_entropy", (8192, 50257), bytes=4 * 8192 * 50257),
    Case("adamw 124M", "adamw", (124_000_000,), bytes=7 * 4 * 124e6),
    Case("W1: mlp 784-256-10, batch 128, step", "mlp", (128, 784, 256, 10)),
)  # fmt: skip


class Programs:
    """Makers of runs, by the names that cases give; each returns a function that runs once and waits."""

    def __init__(self, precision: str) -> None:
        self.graph, self.rng = Graph(precision=precision), np.random.default_rng(0)

    def filled(self, outputs: dict[str, Any], **more: Any) -> Callable[[], None]:
        program = plan(self.graph, outputs, **more)
        instance = program.bind()
        for name, (_, _, shape, dtype) in program.leaves.items():
            if dtype == "f32":
                instance[name][...] = self.rng.standard_normal(shape, np.float32)
        return instance.run

    def copy(self, n: int) -> Callable[[], None]:
        return self.filled({"out": ops.scale(self.graph.statistic("x", n), 1.0)})

    def matmul(self, m: int, n: int, k: int) -> Callable[[], None]:
        return self.filled({"out": ops.matmul(self.graph.statistic("a", m, k), self.graph.statistic("b", k, n))})

    def attention(self, b: int, t: int, h: int, d: int) -> Callable[[], None]:
        return self.filled({"out": ops.packed_attention(self.graph.statistic("qkv", b, t, 3 * h, d), h, causal=True)})

    def attention_step(self, b: int, t: int, h: int, d: int) -> Callable[[], None]:
        qkv = self.graph.weight("qkv", b, t, 3 * h, d)
        out = ops.packed_attention(qkv, h, causal=True)
        return self.filled({"out": out}, gradients={out: [qkv]})

    def layernorm(self, n: int, c: int) -> Callable[[], None]:
        w, b = self.graph.statistic("w", c), self.graph.statistic("b", c)
        return self.filled({"out": ops.layernorm(self.graph.statistic("x", n, c), w, b)})

    def cross_entropy(self, n: int, c: int) -> Callable[[], None]:
        targets = self.graph.input("targets", n, dtype="i32")
        return self.filled({"out": ops.softmax_cross_entropy(self.graph.statistic("x", n, c), targets)})

    def adamw(self, n: int) -> Callable[[], None]:
        weight, x, optimizer = self.graph.weight("w", n), self.graph.statistic("x", n), AdamW()
        loss = ops.mul(weight, x)
        run = self.filled({}, gradients={loss: [weight]}, updates=lambda: optimizer.update(self.graph, [weight]))
        return lambda: run("update", lr=1e-3, step=1)

    def mlp(self, batch: int, inputs: int, hidden: int, classes: int) -> Callable[[], None]:
        layers = dlcore.layers
        model = dlcore.Sequential([layers.Dense(hidden, activation="relu"), layers.Dense(classes, activation="softmax")])
        model.compile("adam", "sparse_categorical_crossentropy")
        x = self.rng.standard_normal((batch, inputs), np.float32)
        y = self.rng.integers(0, classes, batch).astype(np.int32)
        return lambda: model.train_on_batch(x, y)


class Torch:
    """A process of PyTorch's that runs the same cases when it is asked."""

    def __init__(self, python: str) -> None:
        self.process = subprocess.Popen([python, str(PEER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def seconds(self, case: Case) -> float:
        assert self.process.stdin is not None and self.process.stdout is not None
        words = {"make": case.make, "sizes": case.sizes, "precision": case.precision, "repeats": REPEATS}
        self.process.stdin.write(json.dumps(words) + "\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())


def seconds(run: Callable[[], None]) -> float:
    begin = time.perf_counter()
    for _ in range(REPEATS):
        run()
    return (time.perf_counter() - begin) / REPEATS


def measured(case: Case, peer: Torch | None, rounds: int) -> dict[str, Any]:
    run = getattr(Programs(case.precision), case.make)(*case.sizes)
    run()
    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(seconds(run))
        if peer is not None:
            theirs.append(peer.seconds(case))
    own = statistics.median(ours)
    row: dict[str, Any] = {"case": case.name, "dlcore_us": 1e6 * own}
    row |= {"tflops": case.flops / own / 1e12} if case.flops else {}
    row |= {"gb_per_s": case.bytes / own / 1e9} if case.bytes else {}
    if theirs:
        row["torch_us"] = 1e6 * statistics.median(theirs)
        row["torch_over_dlcore"] = statistics.median(t / o for t, o in zip(theirs, ours, strict=True))
    return row


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--peer", default="", help="a Python with CUDA's torch")
    parser.add_argument("--json", default="", help="also write the figures here")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="cases whose name holds this")
    parser.add_argument("--device", default="cuda")
    options = parser.parse_args(arguments)
    try:
        print(dlcore.set_device(options.device))
    except DlcoreError as fault:
        print(fault, file=sys.stderr)
        return fault.exit_code
    peer = Torch(options.peer) if options.peer else None
    rows = []
    for case in CASES:
        if options.only in case.name:
            rows.append(measured(case, peer, options.rounds))
            print("  ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{v:36}" for k, v in rows[-1].items()), flush=True)
    if options.json:
        Path(options.json).write_text(json.dumps({"device": options.device, "rows": rows}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
