"""W6's encoder in ONNX Runtime; PyTorch writes the model.  Mode: session."""

from worker import args, serve  # isort: skip

import tempfile

import onnxruntime
import torch
import w6_data
import w6_models

x = w6_data.ids(w6_data.STEPS)
with tempfile.TemporaryDirectory() as folder:
    path = f"{folder}/encoder.onnx"
    model = w6_models.made(w6_models.Encoder, *w6_data.ENCODER)
    torch.onnx.export(model, (torch.from_numpy(x),), path, opset_version=17, dynamo=False, input_names=["x"])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = args.threads, 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
serve(lambda: session.run(None, {"x": x}), "onnxruntime")
