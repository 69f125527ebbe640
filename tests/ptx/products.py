"""Products for tests of their kernels: what is right, and tables by which small ones take the kernels for large ones too."""

from __future__ import annotations

import copy
import re

import numpy as np
from ptx.device import Emulated

from dlcore.graph import Graph, plan
from dlcore.ops import matmul
from dlcore.runtime.cuda_table import cuda_table

FORMS = {"nn": lambda a, b: a @ b, "nt": lambda a, b: a @ b.T, "tn": lambda a, b: a.T @ b}


def error(found, wanted) -> float:
    """Of all numbers together, relative to what is right."""
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


def rounded(x):
    """float32 to bf16, halves to even, and back."""
    bits = x.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)


def in_blocks(x: np.ndarray) -> np.ndarray:
    """A matrix of small whole numbers as `round_to_blocks` writes it."""
    rows, columns = -(-x.shape[0] // 128), -(-x.shape[1] // 64)
    padded = np.zeros((rows, 128, columns, 8, 8), np.float32)
    padded.reshape(rows * 128, columns * 64)[: x.shape[0], : x.shape[1]] = x
    words = (padded.view(np.uint32) >> 16).astype(np.uint16).transpose(0, 2, 1, 3, 4)
    places = np.arange(8) ^ (np.arange(128) & 7)[:, None]
    return np.take_along_axis(words, places[None, None, :, :, None], 3).reshape(rows, columns, 8192)


def block_sizes(form: str, M: int, N: int, K: int) -> list[int]:
    """The sizes that `multiply_bf16_<form>` is called with, in the order of its spec."""
    spec, symbols = cuda_table().calls[f"multiply_bf16_{form}"]["spec"], {"M": M, "N": N, "KC": -(-K // 64), "KR": -(-K // 128)}
    found = {s: re.search(rf"\b{s}\b", spec) for s in symbols}
    return [symbols[s] for s, _ in sorted(((s, m.start()) for s, m in found.items() if m), key=lambda place: place[1])]


def of_any_size(*words):
    """A table by which small products take the kernels for large ones too: those whose lowerings have a call of these names."""
    table = copy.copy(cuda_table())
    table.data = copy.deepcopy(table.data)
    for name, alternatives in table.data["lowerings"].items():
        wanted = [each for each in alternatives if any(step[0].startswith(words) for step in each["steps"])]
        if wanted:
            table.data["lowerings"][name] = [each | {"when": ""} for each in wanted]
    return table


def without(*words):
    """A table that lacks the lowerings which have a call of these names: what is left makes products of any size."""
    table = copy.copy(cuda_table())
    table.data = copy.deepcopy(table.data)
    for name, alternatives in table.data["lowerings"].items():
        table.data["lowerings"][name] = [a for a in alternatives if not any(step[0].endswith(words) for step in a["steps"])]
    return table


def run_product(table, form, M, N, K, precision, shuffle=None, rounding=lambda x: x):
    """(what was found, what is right, kernels) of a product that is written, and one that is added to memory."""
    rng = np.random.default_rng(4)
    shapes = {"nn": ((M, K), (K, N)), "nt": ((M, K), (N, K)), "tn": ((K, M), (K, N))}[form]
    a, b = (rng.standard_normal(s).astype(np.float32) for s in shapes)
    graph = Graph(precision=precision)
    out = matmul(graph.input("a", *a.shape), graph.input("b", *b.shape), form)
    program = plan(graph, {"out": out}, table=table)
    instance = Emulated(program, shuffle=shuffle)
    for name in ("outputs", "arena"):
        if name in instance.buffers:
            instance.buffers[name].fill(0xFF)
    instance["a"][...], instance["b"][...] = a, b
    instance.run()
    wanted = FORMS[form](rounding(a).astype(np.float64), rounding(b))
    return instance["out"], wanted, [step.kernel for step in program.steps]
