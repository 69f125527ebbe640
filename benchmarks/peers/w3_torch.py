"""W3 in PyTorch.  Modes: fused (fused Adam), channels-last (the same, on [B, H, W, C]), compile (channels-last, compiled)."""

from worker import args, serve  # isort: skip

import torch
import w3_data
import w3_models
from torch import nn

torch.set_num_threads(args.threads)
torch.set_num_interop_threads(1)

part, name, *bf16 = args.part.split("-")
model = w3_models.network(name)
images, labels = w3_data.batch(name, args.batch)
x, y = torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(labels).long()
if args.mode == "fused":
    x = x.contiguous()
else:
    model, x = model.to(memory_format=torch.channels_last), x.contiguous(memory_format=torch.channels_last)

if part == "train":
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)

    def forward() -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=bool(bf16)):
            logits = model(x)
        return nn.functional.cross_entropy(logits.float(), y)

    loss = torch.compile(forward) if args.mode == "compile" else forward

    def step() -> None:
        loss().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    serve(step, "torch")
else:
    model.eval()
    infer = torch.compile(model) if args.mode == "compile" else model
    with torch.inference_mode():
        serve(lambda: infer(x), "torch")
