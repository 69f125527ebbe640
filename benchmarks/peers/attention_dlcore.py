"""Causal attention in dlcore: queries, keys and values f32[B, T, 12, 64]; products of float32, or in mode `bf16` of that."""
from worker import args, serve  # isort: skip

import numpy as np

from dlcore import ops
from dlcore.graph import Graph, plan

part, T = args.part.split()
shape = (args.batch, int(T), 12, 64)
graph = Graph(precision="bf16" if args.mode == "bf16" else "float32")
q, k, v, dout = (graph.input(name, *shape) for name in ("q", "k", "v", "dout"))
out = ops.attention(q, k, v, causal=True)
gradients = {"gradients": {out: [q, k, v]}, "seeds": {out: dout}} if part == "step" else {}
instance = plan(graph, {"out": out}, **gradients).bind()
for name in ("q", "k", "v", "dout"):
    if name in instance.program.leaves:
        instance[name][...] = np.random.default_rng(0).standard_normal(shape)
serve(instance.run, "dlcore")
