"""W4 and W5 in dlcore.  Modes: model (train_on_batch, as a user calls it), program (the planned step alone), bf16 (the same, with
products in bf16)."""
from worker import args, serve  # isort: skip

import w4_data

import dlcore
from dlcore.layers import CausalLM, Input
from dlcore.training.losses import SparseCategoricalCrossentropy
from dlcore.training.programs import signature

V, T, L, H, C, positions = w4_data.shape(args.part)
ids = Input((T,), "int32")
model = dlcore.Model(ids, CausalLM(V, positions, L, H, C)(ids))
options = w4_data.OPTIONS
optimizer = dlcore.AdamW(options["lr"], *options["betas"], weight_decay=options["weight_decay"])
precision = "bf16" if args.mode == "bf16" else "float32"
model.compile(optimizer, SparseCategoricalCrossentropy(from_logits=True), precision=precision)
x, y = w4_data.batch(args.part, args.batch)
model.train_on_batch(x, y)
if args.mode == "model":
    serve(lambda: model.train_on_batch(x, y), "dlcore")
else:
    runner = model.programs.runner(signature(model, "train", args.batch, [x], [y]))
    runner.put([x, y])
    serve(lambda: runner.instance.run(lr=options["lr"], step=10), "dlcore")
