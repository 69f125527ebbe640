"""W6 in PyTorch.  Modes: eager, compile.

int8: dynamic quantization of all dense layers, weights per output channel; what stays float32 is embeddings, norms, attention."""

from worker import args, serve  # isort: skip

import torch
import w6_data
import w6_models
from torch import nn
from torch.ao import quantization

torch.set_num_threads(args.threads)
torch.set_num_interop_threads(1)
what, name = args.part.split()
dtype = torch.bfloat16 if name == "bf16" else torch.float32


def quantized(model: nn.Module) -> nn.Module:
    """In place; the model itself where the part is not in int8."""
    layers = {nn.Linear: quantization.per_channel_dynamic_qconfig}
    return quantization.quantize_dynamic(model, layers, inplace=True) if name == "int8" else model


def encoder():
    model = quantized(w6_models.made(w6_models.Encoder, *w6_data.ENCODER).to(dtype))
    run, x = torch.compile(model) if args.mode == "compile" else model, torch.from_numpy(w6_data.ids(w6_data.STEPS))
    return lambda: run(x)


def generate():
    model = w6_models.made(w6_models.GPT, *w6_data.GPT).to(dtype)
    if name == "int8":
        model.head_apart()
        model = quantized(model)
    heads, width = w6_data.GPT[3:]
    length = w6_data.PROMPT + w6_data.NEW
    kept = [torch.zeros(2, 1, heads, length, width // heads, dtype=dtype) for _ in model.blocks]
    run = torch.compile(model, dynamic=True) if args.mode == "compile" else model
    prompt = torch.from_numpy(w6_data.ids(w6_data.PROMPT)).long()

    def write():
        ids, at = prompt, 0
        for _ in range(w6_data.NEW):
            following = run(ids, kept, at).argmax(-1, keepdim=True)
            at += ids.shape[1]
            ids = following

    return write


with torch.inference_mode():
    serve({"encoder": encoder, "generate": generate}[what](), "torch", w6_data.NEW if what == "generate" else 1)
