"""A device of NumPy functions: programs run step by step, members in the least favourable order.

The calls are declared here (names begin with "toy_") and lowered by `Table`, so these tests need no kernel.  Between two
barriers each member runs all of its shares before the next member starts, forwards or backwards: a missing barrier, a life
that is too short or a wrong bit shows in the result.
"""
from __future__ import annotations

from math import prod

import numpy as np

from dlcore.graph import Graph, Slot, call, op

NUMPY = {"f32": np.float32, "f64": np.float64, "bf16": np.uint16, "i8": np.int8, "u8": np.uint8, "i32": np.int32,
         "i64": np.int64}
KERNELS = {}


def kernel(declaration):
    """Registers a function of (values by name) -> {output: value} for a call."""
    def register(function):
        KERNELS[declaration.name] = function
        return function
    return register


# ---- calls -------------------------------------------------------------------------------------------------------------
add_call = call("toy_add(x: F[S], y: F[S] -> +out: F[S])", over="S", flops="S")
mul_call = call("toy_mul(x: F[S], y: F[S] -> +out: F[S])", over="S", flops="S")
scale_call = call("toy_scale(x: F[S], factor: f32 -> +out: F[S])", over="S")
tanh_call = call("toy_tanh(x: F[S] -> +out: F[S])", over="S")
tanh_gradient_call = call("toy_tanh_gradient(dout: F[S], out: F[S] -> +dx: F[S])", over="S")
plain_tanh_call = call("toy_plain_tanh(x: F[S] -> out: F[S])", over="S")
negate_call = call("toy_negate(-> ~x: F[S])", over="S")
row_sum_call = call("toy_row_sum(x: F[N, C] -> +out: F[N])", over="N")
spread_call = call("toy_spread(x: F[N] -> +out: F[N, C])", over="N")
matmul_call = call("toy_matmul(a: F[M, K], b: F[K, N] -> +out: F[M, N])", over="", flops="2 * M * N * K")
matmul_nt_call = call("toy_matmul_nt(a: F[M, K], b: F[N, K] -> +out: F[M, N])", over="M")
matmul_tn_call = call("toy_matmul_tn(a: F[K, M], b: F[K, N] -> +out: F[M, N])", over="M")
pack_call = call("toy_pack(b: F[K, N] -> panels: G[ceil(N / PANEL), K, PANEL])", over="ceil(N / PANEL)", G=("f32", "bf16"))
multiply_call = call("toy_multiply(a: F[M, K], panels: G[P, K, PANEL], width: i64 -> +out: F[M, N])", over="M", G=("f32", "bf16"))
two_call = call("toy_two(x: F[S] -> +double: F[S], +half: F[S]?)", over="S")
parts_call = call("toy_parts(x: F[N, C] -> parts: F[CHUNKS, C])", over="N in CHUNKS")
add_parts_call = call("toy_add_parts(parts: F[P, C] -> +out: F[C])", over="C")
column_sum_call = call("toy_column_sum(x: F[N, C] -> +out: F[C])", over="")
remember_call = call("toy_remember(x: F[C], status: i64[1] -> ~mean: f32[C])", over="C")
flag_call = call("toy_flag(x: F[S] -> ~status: i64[1])", over="1")
sgd_call = call("toy_sgd(gradient: f32[S], status: i64[1], lr: f32 -> ~weight: f32[S])", over="S")
write_call = call("toy_write(x: F[C], position: i64 -> ~cache: f32[L, C])", over="1")
fill_call = call("fill(value: f32 -> +out: F[S])", over="S")
accumulate_call = call("accumulate(x: F[S] -> +out: F[S])", over="S")

for name, formula in {
        "toy_add": lambda v: {"out": v["x"] + v["y"]}, "toy_mul": lambda v: {"out": v["x"] * v["y"]},
        "toy_scale": lambda v: {"out": v["x"] * v["factor"]}, "toy_tanh": lambda v: {"out": np.tanh(v["x"])},
        "toy_plain_tanh": lambda v: {"out": np.tanh(v["x"])}, "toy_negate": lambda v: {"x": -v["x"]},
        "toy_tanh_gradient": lambda v: {"dx": v["dout"] * (1 - v["out"] ** 2)},
        "toy_row_sum": lambda v: {"out": v["x"].sum(1)},
        "toy_spread": lambda v: {"out": np.broadcast_to(v["x"][:, None], v["shape"]["out"])},
        "toy_matmul_nt": lambda v: {"out": v["a"] @ v["b"].T},
        "toy_two": lambda v: {"double": 2 * v["x"], "half": v["x"] / 2}, "accumulate": lambda v: {"out": v["x"]},
        "fill": lambda v: {"out": np.full(v["shape"]["out"], v["value"])},
        "toy_flag": lambda v: {"status": v["status"] | (not np.isfinite(v["x"]).all())},
        "toy_remember": lambda v: {"mean": v["mean"] if v["status"][0] else v["mean"] + 0.1 * (v["x"] - v["mean"])},
        "toy_sgd": lambda v: {"weight": v["weight"] if v["status"][0] else v["weight"] - v["lr"] * v["gradient"]}}.items():
    KERNELS[name] = formula


@kernel(matmul_tn_call)
def multiply_transposed(v):
    return {"out": v["a"][:, v["begin"]:v["end"]].T @ v["b"]}


@kernel(pack_call)
def pack(v):
    panels = np.zeros(v["shape"]["panels"])
    for p in range(v["begin"], v["end"]):
        part = v["b"][:, p * panels.shape[2]:(p + 1) * panels.shape[2]]
        panels[p, :, :part.shape[1]] = part
    return {"panels": panels[v["begin"]:v["end"]]}


@kernel(multiply_call)
def multiply(v):
    P, K, W = v["panels"].shape
    return {"out": v["a"] @ v["panels"].transpose(1, 0, 2).reshape(K, P * W)[:, :v["width"]]}


@kernel(parts_call)
def make_parts(v):
    n, parts = v["x"].shape[0], v["shape"]["parts"][0]
    return {"parts": np.stack([v["x"][c * n // parts:(c + 1) * n // parts].sum(0) for c in range(v["begin"], v["end"])])}


@kernel(add_parts_call)
def add_parts(v):
    return {"out": v["parts"].sum(0)[v["begin"]:v["end"]]}


@kernel(write_call)
def write(v):
    cache = v["cache"].copy()
    cache[v["position"]] = v["x"]
    return {"cache": cache}


# ---- ops ---------------------------------------------------------------------------------------------------------------
def flat(declaration, *arguments):
    shape = arguments[0].shape
    return declaration(*[a.reshape(a.size) if hasattr(a, "shape") else a for a in arguments]).reshape(*shape)


@op
def add(x, y):
    return flat(add_call, x, y), lambda dout: (dout, dout)


@op
def mul(x, y):
    return flat(mul_call, x, y), lambda dout: (mul(dout, y), mul(dout, x))


@op
def scale(x, factor):
    return flat(scale_call, x, factor), lambda dout: scale(dout, factor)


@op
def tanh(x):
    out = flat(tanh_call, x)
    return out, lambda dout: tanh_gradient(dout, out)


@op
def tanh_gradient(dout, out):
    return (flat(tanh_gradient_call, dout, out),
            lambda d: (tanh_gradient(d, out), scale(mul(mul(d, dout), out), -2.0)))


@op
def plain_tanh(x):
    """A call whose output cannot add, and a gradient that lies in the memory of its input where it may."""
    out = flat(plain_tanh_call, x)
    return out, lambda dout: negative(tanh_gradient(scale(dout, -1.0), out))


@op
def negative(x):
    """In place, where nobody reads x later."""
    return flat(negate_call, x), lambda dout: scale(dout, -1.0)


@op
def row_sum(x):
    return row_sum_call(x), lambda dout: spread(dout, x.shape[1])


@op
def spread(x, C):
    return spread_call(x, C=C), lambda dout: row_sum(dout)


@op
def double_and_half(x):
    def backward(ddouble, dhalf):
        parts = [scale(d, f) for d, f in ((ddouble, 2.0), (dhalf, 0.5)) if d is not None]
        return x.graph.sum(parts).reshape(*x.shape)
    double, half = two_call(x.reshape(x.size))
    return (double.reshape(*x.shape), half.reshape(*x.shape)), backward


@op
def matmul(a, b, form="nn"):
    def backward(dout):
        if form == "nn":
            return matmul(dout, b, "nt"), matmul(a, dout, "tn")
        if form == "nt":
            return matmul(dout, b), matmul(dout, a, "tn")
        return matmul(b, dout, "nt"), matmul(a, dout)
    return {"nn": matmul_call, "nt": matmul_nt_call, "tn": matmul_tn_call}[form](a, b), backward


def sgd(graph, weights):
    """A function for `plan(updates=...)`."""
    def update():
        gradient = graph.flat("gradients", weights)
        status = flag_call(gradient, graph.status)
        sgd_call(gradient, status, Slot("lr"), graph.flat("weights", weights))
    return update


# ---- the device --------------------------------------------------------------------------------------------------------
class Table:
    """What `kernel_table()` would be: toy_matmul has two lowerings, toy_column_sum one."""

    def __init__(self, bf16=True):
        self.constants, self.calls, self.bf16 = {"PANEL": 4}, {}, bf16
        packed = [["toy_pack", ["b"], ["panels"]], ["toy_multiply", ["a", "panels", "N"], ["out"]]]
        self.data = {"toy_matmul": [{"steps": packed, "when": "", "product": "bf16"},
                                    {"steps": packed, "when": "M < 100", "product": "f32"}],
                     "toy_column_sum": [{"steps": [["toy_parts", ["x"], ["parts"]], ["toy_add_parts", ["parts"], ["out"]]],
                                         "when": "", "product": "f32"}]}

    def lowerings(self, name):
        return self.data.get(name, [])

    def has(self, name, dtypes="f32"):
        return name in KERNELS and (self.bf16 or "bf16" not in dtypes)


TABLE = Table()


class Machine:
    """Buffers of a program, and the interpreter."""

    def __init__(self, program, buffers=None):
        self.program = program
        self.buffers = {n: np.zeros(-(-size // 8), np.int64).view(np.uint8)[:size] for n, size in program.sizes.items()}
        self.buffers.update(buffers or {})
        self.groups = {}
        for s in program.steps:
            groups = self.groups.setdefault(s.segment, [])
            if not groups or groups[-1][0].group != s.group:
                groups.append([])
            groups[-1].append(s)
        if "prepare" in self.groups:
            self.run("prepare")

    def view(self, where):
        buffer, offset, shape, dtype = where[:4]
        size = prod(shape) * np.dtype(NUMPY[dtype]).itemsize
        return self.buffers[buffer][offset:offset + size].view(NUMPY[dtype]).reshape(shape)

    def __getitem__(self, name):
        found = self.program.outputs.get(name) or self.program.leaves[name]
        return self.view(found)

    def gradient(self, name):
        _, offset, shape, dtype = self.program.leaves[name]
        return self.view(("gradients", offset, shape, dtype))

    def run(self, *segments, members=1, backwards=False, accumulate=False, poison=True, **slots):
        slots = {"loss_scale": 1.0, **slots}
        for segment in segments or [s for s in self.groups if s != "prepare"]:
            if poison and segment == "forward" and "arena" in self.buffers:
                self.buffers["arena"].fill(255)
            for group in self.groups.get(segment, ()):
                for member in reversed(range(members)) if backwards else range(members):
                    for step in group:
                        begin, end = share(step, member, members)
                        if begin < end:
                            self.step(step, begin, end, accumulate, slots)

    def step(self, step, begin, end, accumulate, slots):
        spec, values = step.spec, {"begin": begin, "end": end, "shape": {}}
        places = {}
        for item, where in zip(spec.arrays, step.arrays):
            if where is not None:
                whole = self.view(where)
                led = item.sizes[0] == spec.sliced and not spec.chunked
                places[item.name] = whole[begin:end] if led or item.sizes[0] == spec.axis or (
                    spec.chunked and item.sizes[0] == "CHUNKS") else whole
                if spec.chunked or not spec.sliced:
                    values[item.name] = whole
                else:
                    values[item.name] = places[item.name]
                values["shape"][item.name] = values[item.name].shape
        for item, value in zip(spec.scalars, step.scalars):
            values[item.name] = slots[value.name] if isinstance(value, Slot) else value
        adds = dict(zip([i.name for i in spec.added], step.add))
        for item in spec.arrays:                # what is overwritten may not be read before
            if item.name in places and item.kind == "out" and places[item.name].dtype.kind == "f":
                places[item.name].fill(np.nan)
        with np.errstate(all="ignore"):
            made = KERNELS[step.kernel](values)
        for name, value in made.items():
            if name in places:
                where = adds.get(name, 0)
                if where == 1 or where == 2 and accumulate:
                    places[name] += value
                else:
                    places[name][...] = value


def share(step, member, members):
    blocks = -(-step.extent // step.grid)
    return tuple(min(step.extent, m * blocks // members * step.grid) for m in (member, member + 1))


def graph(**options):
    return Graph(**{"wide": True, **options})
