"""W2 forward in ONNX Runtime, its LSTM operator in both directions; the model is written with the onnx package.  Mode: session."""

from worker import args, serve  # isort: skip

import numpy as np
import onnx
import onnxruntime
import w2_data
from onnx import TensorProto, helper, numpy_helper


def gates(columns):
    """i, f, g, o as columns -> ONNX's i, o, f, g as rows."""
    i, f, g, o = np.split(columns.T, 4)
    return np.concatenate([i, o, f, g])


table, *rest = w2_data.weights()
directions = [rest[:3], rest[3:6]]
parts = {
    "table": table,
    "W": np.stack([gates(d[0]) for d in directions]),
    "R": np.stack([gates(d[1]) for d in directions]),
    "B": np.stack([np.concatenate([gates(d[2]), 0 * d[2]]) for d in directions]),
    "weight": rest[6],
    "bias": rest[7],
    "shape": np.array([0, 0, -1], np.int64),
}
nodes = [
    helper.make_node("Gather", ["table", "ids"], ["words"]),
    helper.make_node("Transpose", ["words"], ["steps"], perm=[1, 0, 2]),
    helper.make_node("LSTM", ["steps", "W", "R", "B"], ["h"], hidden_size=w2_data.HIDDEN, direction="bidirectional"),
    helper.make_node("Transpose", ["h"], ["turned"], perm=[0, 2, 1, 3]),
    helper.make_node("Reshape", ["turned", "shape"], ["both"]),
    helper.make_node("ReduceMean", ["both"], ["mean"], axes=[0], keepdims=0),
    helper.make_node("Gemm", ["mean", "weight", "bias"], ["out"]),
]
graph = helper.make_graph(
    nodes,
    "w2",
    [helper.make_tensor_value_info("ids", TensorProto.INT32, [args.batch, w2_data.STEPS])],
    [helper.make_tensor_value_info("out", TensorProto.FLOAT, [args.batch, w2_data.CLASSES])],
    [numpy_helper.from_array(np.ascontiguousarray(a), n) for n, a in parts.items()],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
onnx.checker.check_model(model)
options = onnxruntime.SessionOptions()
options.intra_op_num_threads, options.inter_op_num_threads = args.threads, 1
session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
ids, _ = w2_data.batch(args.batch)
serve(lambda: session.run(None, {"ids": ids}), "onnxruntime")
