"""MNIST, two layers of 512 with dropout, 20 epochs: the task's defaults beside the same network in PyTorch and Keras.

    python benchmarks/quality/mnist_mlp.py DATA [--seeds 0,1,2] [--epochs 20] [--peers torch,keras] [--out FOLDER]

DATA is a folder of MNIST's idx files.  All train on the same rows (a tenth is kept for validation and used for nothing
here), with the same batch size, learning rates, dropout and optimizer; the test part is measured once, at the end.
Keras publishes 98.40 % after 20 epochs for this network in its example `mnist_mlp`.
"""
from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

from dlcore.data.dataset import Parts
from dlcore.data.images import read_images
from dlcore.data.split import split
from dlcore.tasks import ImageClassifier


def dlcore(parts: Parts, epochs: int, seed: int) -> float:
    """The defaults of `ImageClassifier`."""
    return ImageClassifier(epochs=epochs, random_state=seed).fit(parts.train).score(parts.test)


def torch(parts: Parts, epochs: int, seed: int) -> float:
    """The same in PyTorch, with fused Adam and the data in memory as float32."""
    import torch as t
    from torch import nn

    p = ImageClassifier()
    t.manual_seed(seed)
    rows, _ = split(len(parts.train), p.val_split, seed, parts.train.y.astype(np.int64))
    x = t.from_numpy(parts.train.x[rows].reshape(len(rows), -1).astype(np.float32) / 255)
    y = t.from_numpy(parts.train.y[rows].astype(np.int64))
    layers: list[nn.Module] = []
    for width, wide in zip((784, *p.hidden), p.hidden, strict=False):
        layers += [nn.Linear(width, wide), nn.ReLU(), nn.Dropout(p.dropout)]
    model = nn.Sequential(*layers, nn.Linear(p.hidden[-1], 10))
    optimizer = t.optim.Adam(model.parameters(), lr=p.lr, eps=1e-7, fused=True)
    steps = -(-len(x) // p.batch_size)
    for epoch in range(epochs):
        order = t.randperm(len(x))
        for step in range(steps):
            batch = order[step * p.batch_size:(step + 1) * p.batch_size]
            optimizer.param_groups[0]["lr"] = p.lr * (0.5 + 0.5 * math.cos(math.pi * (epoch + step / steps) / epochs))
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
            optimizer.step()
    model.eval()
    with t.no_grad():
        predicted = model(t.from_numpy(parts.test.x.reshape(len(parts.test), -1).astype(np.float32) / 255)).argmax(1).numpy()
    return float((predicted == parts.test.y).mean())


def keras(parts: Parts, epochs: int, seed: int) -> float:
    """The same in Keras, by `fit` on float32 arrays in memory."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras as k

    p = ImageClassifier()
    k.utils.set_random_seed(seed)
    rows, _ = split(len(parts.train), p.val_split, seed, parts.train.y.astype(np.int64))
    x = parts.train.x[rows].reshape(len(rows), -1).astype(np.float32) / 255
    layers: list[Any] = [k.Input((784,))]
    for width in p.hidden:
        layers += [k.layers.Dense(width, activation="relu", kernel_initializer="he_uniform"), k.layers.Dropout(p.dropout)]
    model = k.Sequential([*layers, k.layers.Dense(10)])
    rate = k.optimizers.schedules.CosineDecay(p.lr, epochs * -(-len(x) // p.batch_size))
    model.compile(k.optimizers.Adam(rate, epsilon=1e-7), k.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(x, parts.train.y[rows].astype(np.int32), p.batch_size, epochs, verbose=0)
    test = parts.test.x.reshape(len(parts.test), -1).astype(np.float32) / 255
    return float((model.predict(test, 1000, verbose=0).argmax(1) == parts.test.y).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--peers", default="torch,keras", help='"" for none')
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    parts = read_images(options.data)
    names = ["dlcore", *filter(None, options.peers.split(","))]
    results: dict[str, Any] = {name: {"accuracy": [], "seconds": []} for name in names}
    for seed in map(int, options.seeds.split(",")):
        for name in names:                                  # in turn, so that a busy moment hits all
            begin = time.perf_counter()
            accuracy = globals()[name](parts, options.epochs, seed)
            results[name]["accuracy"].append(accuracy)
            results[name]["seconds"].append(time.perf_counter() - begin)
            print(f"seed {seed}  {name}  {accuracy:.4f}  {results[name]['seconds'][-1]:.1f} s", flush=True)
    lines = ["| | test accuracy, median (min to max) | seconds, median (min to max) |", "| --- | --- | --- |"]
    for name, r in results.items():
        a, s = r["accuracy"], r["seconds"]
        lines.append(f"| {name} | {statistics.median(a):.4f} ({min(a):.4f} to {max(a):.4f}) "
                     f"| {statistics.median(s):.1f} ({min(s):.1f} to {max(s):.1f}) |")
    print("\n".join(lines))
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        report = {"epochs": options.epochs, "load": os.getloadavg(), "cores": os.cpu_count(), "results": results}
        (options.out / "mnist_mlp.json").write_text(json.dumps(report, indent=1) + "\n")
        (options.out / "mnist_mlp.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
