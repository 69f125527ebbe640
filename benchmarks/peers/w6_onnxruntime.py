"""W6's encoder in ONNX Runtime; PyTorch writes the model.  Mode: session.

int8: dynamic quantization of the products with weights, per output channel and over all 8 bits (signed weights and VNNI are twice
as fast as unsigned ones; per channel and per tensor are equally fast); embeddings, norms and attention stay float32."""

from worker import args, serve  # isort: skip

import os
import tempfile
import traceback

import onnxruntime
import w6_data

x = w6_data.ids(w6_data.STEPS)


def write_model(path: str) -> None:
    import torch
    import w6_models

    model = w6_models.made(w6_models.Encoder, *w6_data.ENCODER)
    torch.onnx.export(model, (torch.from_numpy(x),), path, opset_version=17, dynamo=False, input_names=["x"])
    if args.part.endswith("int8"):
        from onnxruntime.quantization import QuantType, quantize_dynamic

        quantize_dynamic(path, path, ["MatMul"], per_channel=True, weight_type=QuantType.QInt8)


def elsewhere(task, *arguments) -> None:
    """In a process of its own: what it takes is not memory of the library that is measured."""
    child = os.fork()
    if not child:
        try:
            task(*arguments)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        raise SystemExit(1)


with tempfile.TemporaryDirectory() as folder:
    path = f"{folder}/encoder.onnx"
    elsewhere(write_model, path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = args.threads, 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
serve(lambda: session.run(None, {"x": x}), "onnxruntime")
