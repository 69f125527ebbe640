"""Matrix products in NumPy with OpenBLAS.  Modes: default (what it chooses), or the processor whose code it is told to use."""

from worker import args, serve  # isort: skip

import os

if args.mode != "default":
    os.environ["OPENBLAS_CORETYPE"] = args.mode

import matmul_data  # noqa: E402
import numpy as np  # noqa: E402

_, _, a, b, _ = matmul_data.operands(args.part, args.batch)
out = np.empty((a.shape[0], b.shape[1]), np.float32)
serve(lambda: np.matmul(a, b, out=out), "numpy")
