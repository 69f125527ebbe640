"""Matrix products in PyTorch.  Modes: eager, onednn (float32 linear by oneDNN instead of MKL)."""

from worker import args, serve  # isort: skip

import matmul_data
import torch

torch.set_num_threads(args.threads)
torch.set_grad_enabled(False)
form, dtype, *arrays = matmul_data.operands(args.part, args.batch)
a, b, bias = (torch.from_numpy(array).to(torch.bfloat16 if dtype == "bf16" else torch.float32) for array in arrays)
if form == "mm":
    out = torch.empty(a.shape[0], b.shape[1], dtype=a.dtype)
    serve(lambda: torch.mm(a, b, out=out), "torch")
elif args.mode == "onednn":
    serve(lambda: torch.ops.mkldnn._linear_pointwise(a, b, bias, "none", [], ""), "torch")
else:
    serve(lambda: torch.nn.functional.linear(a, b, bias), "torch")
