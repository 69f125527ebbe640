"""W3 in dlcore.  Mode: program (the planned step alone)."""
from worker import args, serve  # isort: skip

import w3_data

import dlcore
from dlcore import models
from dlcore.training.programs import signature

part, network, *bf16 = args.part.split("-")
shape = w3_data.SHAPES[network]
model = models.cnn(shape, 10, dropout=0.0) if network == "cnn" else models.resnet(shape, 10)
model.compile(dlcore.Adam(1e-3), dlcore.training.losses.SparseCategoricalCrossentropy(from_logits=True),
              precision="bf16" if bf16 else "float32")
x, y = w3_data.batch(network, args.batch)

if part == "train":
    model.train_on_batch(x, y)
    runner = model.programs.runner(signature(model, "train", args.batch, [x], [y]))
    runner.put([x, y])
    instance = runner.instance
    serve(lambda: instance.run(lr=1e-3, step=10), "dlcore")
else:
    runner = model.programs.runner(signature(model, "predict", args.batch, [x]))
    runner.put([x])
    model.programs.refresh(runner)
    serve(runner.instance.run, "dlcore")
