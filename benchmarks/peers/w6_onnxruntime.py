"""W6's encoder in ONNX Runtime; PyTorch writes the model.  Mode: session.

int8: dynamic quantization of the products with weights, per output channel and over all 8 bits (signed weights and VNNI are twice
as fast as unsigned ones; per channel and per tensor are equally fast); embeddings, norms and attention stay float32."""

from worker import args, serve  # isort: skip

import tempfile

import onnxruntime
import torch
import w6_data
import w6_models
from onnxruntime.quantization import QuantType, quantize_dynamic

x = w6_data.ids(w6_data.STEPS)
with tempfile.TemporaryDirectory() as folder:
    path = f"{folder}/encoder.onnx"
    model = w6_models.made(w6_models.Encoder, *w6_data.ENCODER)
    torch.onnx.export(model, (torch.from_numpy(x),), path, opset_version=17, dynamo=False, input_names=["x"])
    if args.part.endswith("int8"):
        source, path = path, f"{folder}/int8.onnx"
        quantize_dynamic(source, path, ["MatMul"], per_channel=True, weight_type=QuantType.QInt8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = args.threads, 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
serve(lambda: session.run(None, {"x": x}), "onnxruntime")
