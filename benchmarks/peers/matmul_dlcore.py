"""Matrix products in dlcore: the planned program of one call.  Modes: the CPU level."""

from worker import args, serve  # isort: skip

import os

os.environ["DLCORE_CPU_LEVEL"] = args.mode

import matmul_data  # noqa: E402

from dlcore.graph import Graph, plan  # noqa: E402
from dlcore.ops import dense, matmul  # noqa: E402

form, dtype, a, b, bias = matmul_data.operands(args.part, args.batch)
graph = Graph(precision="bf16" if dtype == "bf16" else "float32")
if form == "linear":
    b = b.T  # dlcore keeps weights as [K, N]
left, right = graph.input("a", *a.shape), graph.input("b", *b.shape)
out = dense(left, right, graph.input("bias", *bias.shape)) if form == "linear" else matmul(left, right)
instance = plan(graph, {"out": out}).bind()
instance["a"][...], instance["b"][...] = a, b
if form == "linear":
    instance["bias"][...] = bias
serve(lambda: instance.run(threads=args.threads), "dlcore")
