"""W2 in PyTorch.  Modes: eager, fused (torch's fused Adam), medium (fused, and float32 products by oneDNN)."""

from worker import args, serve  # isort: skip

import torch
import w2_data
from torch import nn

torch.set_num_threads(args.threads)
torch.set_num_interop_threads(1)
if args.mode == "medium":
    torch.set_float32_matmul_precision("medium")


class Text(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(w2_data.VOCABULARY, w2_data.WIDE)
        self.lstm = nn.LSTM(w2_data.WIDE, w2_data.HIDDEN, batch_first=True, bidirectional=True)
        self.out = nn.Linear(2 * w2_data.HIDDEN, w2_data.CLASSES)

    def forward(self, ids):
        return self.out(self.lstm(self.embedding(ids))[0].mean(1))


model = Text()
values = [torch.from_numpy(w.T.copy() if w.ndim == 2 else w) for w in w2_data.weights()]
ours = [model.embedding.weight]
for suffix in ("", "_reverse"):
    ours += [getattr(model.lstm, f"{name}_l0{suffix}") for name in ("weight_ih", "weight_hh", "bias_ih")]
with torch.no_grad():
    for parameter, value in zip([*ours, model.out.weight, model.out.bias], [values[0].T, *values[1:]], strict=True):
        parameter.copy_(value)
    for suffix in ("", "_reverse"):
        getattr(model.lstm, f"bias_hh_l0{suffix}").zero_()
x, y = (torch.from_numpy(a).long() for a in w2_data.batch(args.batch))

if args.part == "train":
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)

    def step() -> None:
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    serve(step, "torch")
else:
    model.eval()
    with torch.inference_mode():
        serve(lambda: model(x), "torch")
