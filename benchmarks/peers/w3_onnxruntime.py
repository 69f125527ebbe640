"""W3's answers in ONNX Runtime; PyTorch writes the model.  Mode: session."""

from worker import args, serve  # isort: skip

import tempfile

import onnxruntime
import torch
import w3_data
import w3_models

name = args.part.partition("-")[2]
images, _ = w3_data.batch(name, args.batch)
x = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
with tempfile.TemporaryDirectory() as folder:
    path = f"{folder}/{name}.onnx"
    model = w3_models.network(name).eval()
    torch.onnx.export(model, (x,), path, opset_version=17, dynamo=False, input_names=["x"])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = args.threads, 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
feed = {"x": x.numpy()}
serve(lambda: session.run(None, feed), "onnxruntime")
