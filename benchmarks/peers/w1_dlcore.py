"""W1 in dlcore.  Modes: model (train_on_batch and predict_on_batch, as a user calls them), program (the planned step alone)."""
from worker import args, serve  # isort: skip

import w1_data

import dlcore
from dlcore.layers import Dense
from dlcore.training.programs import signature

layers = [Dense(width, activation="relu" if width != w1_data.DIMS[-1] else None) for width in w1_data.DIMS[1:]]
model = dlcore.Sequential([dlcore.layers.Input((w1_data.DIMS[0],)), *layers])
model.compile(dlcore.Adam(1e-3), dlcore.training.losses.SparseCategoricalCrossentropy(from_logits=True))
model.set_weights([array for pair in w1_data.weights() for array in pair])
x, y = w1_data.batch(args.batch)

if args.part == "train":
    model.train_on_batch(x, y)
    if args.mode == "model":
        serve(lambda: model.train_on_batch(x, y), "dlcore")
    else:
        runner = model.programs.runner(signature(model, "train", args.batch, [x], [y]))
        runner.put([x, y])
        instance = runner.instance
        serve(lambda: instance.run(lr=1e-3, step=10), "dlcore")
elif args.mode == "model":
    serve(lambda: model.predict_on_batch(x), "dlcore")
else:
    runner = model.programs.runner(signature(model, "predict", args.batch, [x]))
    runner.put([x])
    model.programs.refresh(runner)
    serve(runner.instance.run, "dlcore")
