"""Attention under `precision="bf16"`; prints errors, kernels and equality over threads as JSON."""
from __future__ import annotations

import json

import numpy as np
from ops.harness import build, douts, outputs_of, segments

from dlcore.graph import plan
from dlcore.ops.attention import ref
from dlcore.ops.attention.ref import case, packed

CASES = [
    case("causal", 2, 37, 37, 4, 4, 40, causal=True), case("cross", 2, 9, 30, 3, 3, 33), case("two", 1, 2, 2, 1, 1, 32),
    case("queries-after-keys", 3, 5, 41, 3, 3, 32, causal=True), case("more-queries-than-keys", 2, 40, 7, 4, 4, 48, causal=True),
    case("padding", 3, 13, 45, 3, 3, 37, masked=True), case("padding-causal", 3, 33, 33, 3, 3, 48, masked=True, causal=True),
    case("window", 2, 75, 75, 4, 4, 32, window=9), case("window-causal", 2, 75, 75, 4, 4, 32, window=20, causal=True),
    case("window-few-heads", 1, 140, 150, 1, 1, 32, window=33, causal=True, masked=True),
    case("grouped", 2, 21, 21, 6, 2, 64, causal=True), case("one-key-head", 2, 50, 50, 4, 1, 36, causal=True),
    case("other-values", 3, 20, 25, 3, 3, 32, 20), case("scaled", 2, 12, 12, 4, 4, 32, scale=0.7),
    case("odd", 3, 131, 133, 3, 3, 33, 35, window=40), case("panels", 2, 70, 200, 4, 2, 64, causal=True),
    packed("packed", 3, 35, 3, 3, 32, causal=True), packed("packed-few", 1, 35, 2, 2, 40, causal=True),
    packed("packed-grouped", 4, 40, 4, 2, 32, masked=True), packed("packed-window", 4, 133, 2, 2, 34, window=11),
    packed("packed-odd", 2, 131, 8, 4, 35, causal=True, masked=True),
]
ROUGH = [                                                           # what sees several blocks of keys
    case("windows", 2, 140, 600, 4, 2, 64, causal=True, window=333, masked=True),
    case("wide", 1, 70, 300, 2, 1, 200, 256, causal=True), case("span", 4, 530, 530, 8, 2, 32, causal=True),
]
FLOAT = [case("small-heads", 2, 20, 20, 4, 4, 31, causal=True), case("one-query", 2, 1, 20, 4, 4, 64)]     # what is float32 forward


def rounded(x: np.ndarray) -> np.ndarray:
    """float64 values of the nearest bf16, ties to even."""
    bits = x.astype(np.float32).view(np.uint32).astype(np.uint64)
    up = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16 << 16
    return np.where(np.isnan(x), np.nan, up.astype(np.uint32).view(np.float32)).astype(np.float64)


def split(c: ref.Case) -> tuple[list[np.ndarray], dict]:
    """Queries, keys and values of a case, and its other arguments."""
    options = {"causal": False, "window": None, "scale": None} | c.options
    groups = options.pop("groups", None)
    parts = [c.inputs[n] for n in "qkv"] if groups is None else ref.cut(c.inputs["qkv"], groups)
    return list(parts), options | {"mask": c.inputs["mask"]}


def exact(c: ref.Case, dout: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """The output and the gradients by q, k and v in float64, of operands that are rounded wherever there is a product.

    exp(s - top) is rounded, and its sums are not; this is what is computed where a query sees its keys in one block."""
    (q, k, v), options = split(c)
    repeats, (B, S, G, D) = q.shape[2] // k.shape[2], k.shape
    p = ref.probabilities(rounded(q), rounded(k), **options)
    top = p.max(-1, keepdims=True)
    values = np.repeat(rounded(v), repeats, 2)
    out = np.einsum("bhts,bshv->bthv", rounded(p / np.where(top, top, 1)) * top, values)
    delta = np.einsum("bthv,bthv->bht", dout, out)[..., None]
    grads = p * (np.einsum("bthv,bshv->bhts", rounded(dout), values) - delta)
    grads = rounded(grads * (1 / np.sqrt(D) if options["scale"] is None else options["scale"]))
    dq = np.einsum("bhts,bshd->bthd", grads, np.repeat(rounded(k), repeats, 2))
    dk = np.einsum("bhts,bthd->bshd", grads, rounded(q)).reshape(B, S, G, repeats, D).sum(3)
    dv = np.einsum("bhts,bthv->bshv", rounded(p), rounded(dout)).reshape(B, S, G, repeats, v.shape[3]).sum(3)
    return out, [dq, dk, dv]


def error(found: np.ndarray, wanted: np.ndarray) -> float:
    """Of all numbers together, relative; where the right ones vanish, to what they are made of."""
    return float(np.linalg.norm(found - wanted) / max(np.linalg.norm(wanted), 0.3 * np.sqrt(wanted.size)))


def read(instance, c: ref.Case) -> list[np.ndarray]:
    """The output and the gradients."""
    grads = [np.array(instance.gradient(n)) for n in c.differentiable]
    return [np.array(instance["out0"]), *(grads if len(grads) == 3 else ref.cut(grads[0], c.options["groups"]))]


def measure(c: ref.Case) -> dict:
    made = build("attention", c, precision="bf16")
    program = plan(made.graph, outputs_of(made), **made.by_all())
    instance, found = made.start(program), []
    for threads in (1, 2, 3, 7):
        instance.run(*segments(program), threads=threads)
        found.append(read(instance, c))
    out, grads = exact(c, *douts(c))
    errors = [error(x, y) for x, y in zip(found[0], [out, *grads])]
    instance.run(*segments(program), accumulate=True)
    errors += [error(x, 2 * y) for x, y in zip(read(instance, c)[1:], grads)]
    equal = all((x == y).all() for other in found[1:] for x, y in zip(found[0], other))
    return {"error": max(errors), "equal": equal, "kernels": [str(row["kernel"]) for row in program.table()], "nan": nan(c)}


def nan(c: ref.Case) -> bool:
    """Does a key that is NaN show in those queries alone that see it?"""
    (q, k, v), options = split(c)
    made, middle = build("attention", c, trained=False, precision="bf16"), k.shape[1] // 2
    instance = made.start(plan(made.graph, outputs_of(made)))
    if "k" in c.inputs:
        instance["k"][0, middle, -1, 0] = np.nan
    else:
        instance["qkv"][0, middle, -1 - k.shape[2], 0] = np.nan
    instance.run()
    seen = ref.probabilities(np.ones_like(q), np.ones_like(k), **options)[0, :, :, middle].T != 0
    seen[:, :-(q.shape[2] // k.shape[2])] = False                       # only the queries of the last head of keys
    return bool((np.isnan(instance["out0"][0]).any(-1) == seen).all() and not np.isnan(instance["out0"][1:]).any())


def forward_kernels(c: ref.Case) -> list[str]:
    made = build("attention", c, trained=False, precision="bf16")
    return [str(row["kernel"]) for row in plan(made.graph, outputs_of(made)).table()]


def main() -> None:
    found = {c.id: measure(c) for c in (*CASES, *ROUGH)}
    print(json.dumps({"bf16": found, "float32": [forward_kernels(c) for c in FLOAT]}))


if __name__ == "__main__":
    main()
