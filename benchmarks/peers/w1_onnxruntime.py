"""W1 forward in ONNX Runtime; the model is written with the onnx package.  Mode: session."""

from worker import args, serve  # isort: skip

import onnx
import onnxruntime
import w1_data
from onnx import TensorProto, helper, numpy_helper

nodes, initializers, name = [], [], "x"
layers = w1_data.weights()
for i, (weight, bias) in enumerate(layers):
    initializers += [numpy_helper.from_array(weight, f"w{i}"), numpy_helper.from_array(bias, f"b{i}")]
    nodes.append(helper.make_node("Gemm", [name, f"w{i}", f"b{i}"], [f"z{i}"]))
    name = f"z{i}"
    if i < len(layers) - 1:
        nodes.append(helper.make_node("Relu", [name], [f"h{i}"]))
        name = f"h{i}"
graph = helper.make_graph(
    nodes,
    "w1",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, [args.batch, w1_data.DIMS[0]])],
    [helper.make_tensor_value_info(name, TensorProto.FLOAT, [args.batch, w1_data.DIMS[-1]])],
    initializers,
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
onnx.checker.check_model(model)
options = onnxruntime.SessionOptions()
options.intra_op_num_threads, options.inter_op_num_threads = args.threads, 1
session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
x, _ = w1_data.batch(args.batch)
serve(lambda: session.run(None, {"x": x}), "onnxruntime")
