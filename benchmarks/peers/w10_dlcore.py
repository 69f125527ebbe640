"""W10 in dlcore.  Mode: program (the two planned programs of a step)."""
from worker import args, serve  # isort: skip

import numpy as np

import dlcore
from dlcore import models
from dlcore.training.programs import signature

images = np.random.default_rng(0).standard_normal((args.batch, 784), dtype=np.float32)
model = models.dcgan((28, 28), 100, filters=(64, 128), flat=True)
model.compile(dlcore.Adam(2e-4), precision="bf16" if args.part.endswith("bf16") else "float32")
model.ensure_store()
s = signature(model, "train", args.batch, [images], rows=args.batch)
model.programs.plan(s)
runner = model.programs.trainer(s, {f"data/{s.x[0].name}": images}, 0)
runner.rows[:] = memoryview(np.arange(args.batch, dtype=np.int32))
runner.scalars |= {"lr": 2e-4, "step": 10}
serve(runner.run, "dlcore")
