"""W2 in dlcore.  Modes: model (train_on_batch and predict_on_batch, as a user calls them), program (the planned step alone)."""
from worker import args, serve  # isort: skip

import w2_data

import dlcore
from dlcore.layers import LSTM, Bidirectional, Dense, Embedding, GlobalAveragePooling1D, Input
from dlcore.training.programs import signature

model = dlcore.Sequential([
    Input((w2_data.STEPS,), "int32"), Embedding(w2_data.VOCABULARY, w2_data.WIDE),
    Bidirectional(LSTM(w2_data.HIDDEN, return_sequences=True)), GlobalAveragePooling1D(), Dense(w2_data.CLASSES)])
model.compile(dlcore.Adam(1e-3), dlcore.training.losses.SparseCategoricalCrossentropy(from_logits=True))
model.set_weights(w2_data.weights())
x, y = w2_data.batch(args.batch)

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
