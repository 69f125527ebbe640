"""W1 in PyTorch.  Modes: eager (a user's defaults), fused (torch's fused Adam), medium (fused, and float32 products by oneDNN),
compile (fused, and the loss compiled)."""

from worker import args, serve  # isort: skip

import torch
import w1_data

torch.set_num_threads(args.threads)
torch.set_num_interop_threads(1)
if args.mode == "medium":
    torch.set_float32_matmul_precision("medium")
layers = []
for weight, bias in w1_data.weights():
    linear = torch.nn.Linear(*weight.shape)
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(weight.T))
        linear.bias.copy_(torch.from_numpy(bias))
    layers += [linear, torch.nn.ReLU()]
model = torch.nn.Sequential(*layers[:-1])
x, y = (torch.from_numpy(a) for a in w1_data.batch(args.batch))
y = y.long()

if args.part == "train":
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, **({} if args.mode == "eager" else {"fused": True}))

    def forward() -> torch.Tensor:
        return torch.nn.functional.cross_entropy(model(x), y)

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
