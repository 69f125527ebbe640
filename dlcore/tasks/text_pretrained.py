"""Classifiers of texts on an encoder that is there already: what `text-classify --arch bert --init MODEL` begins with.

The encoder learns more slowly than the new layer behind it, and each of its blocks more slowly than the one above (Howard and
Ruder, Universal language model fine-tuning, 2018): what it knows is kept, most of all below.
"""
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dlcore.errors import UsageError
from dlcore.layers.initializers import generator
from dlcore.training.callbacks import Callback

GRAIN, NEAR, DRAWN = 8, 32, 0x4C        # lengths are multiples of GRAIN; batches whose rows are sorted among each other


def encoder_in(path: str) -> Any:
    """The `TextEmbedder` in a model file, or in a folder of Hugging Face's kind.   UsageError, ModelFileError"""
    from dlcore.deploy.huggingface import is_folder
    from dlcore.deploy.load import load
    from dlcore.tasks.embed import TextEmbedder
    if is_folder(path) and not (Path(path) / "model.dlc").is_file():
        from dlcore.tasks.pretrained import from_pretrained
        found: Any = from_pretrained(path)
    else:
        found = load(path)
    if not isinstance(found, TextEmbedder):
        raise UsageError("this is no encoder to begin with", where=path, expected="a model of the task embed",
                         got=str(getattr(found, "task", type(found).__name__)), hint="dlcore import FOLDER -o model.dlc")
    return found


class ByLength(Callback):
    """Batches of texts of similar length, cut behind the longest of each: (ids i32[batch, T], targets[, weights]).

    The rows of an epoch are in an order drawn for (seed, epoch); of each NEAR batches those of similar length come together, and
    these batches in an order that is drawn too.  As a callback of the training it learns which epoch begins.
    ids: i32[N, longest], 0 behind the end of a text"""

    def __init__(self, ids: np.ndarray, targets: np.ndarray, weight: np.ndarray | None, batch: int, seed: int):
        self.arrays = (ids, targets) if weight is None else (ids, targets, weight)
        self.lengths, self.batch, self.seed, self.epoch = lengths(ids), batch, seed, 0

    def get_state(self) -> dict[str, Any]:
        return {"epoch": self.epoch}

    def set_state(self, state: dict[str, Any]) -> None:
        self.epoch = state["epoch"]

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-len(self.lengths) // self.batch)

    def __iter__(self) -> Iterator[tuple[np.ndarray, ...]]:
        rng = generator(self.seed, DRAWN, self.epoch)
        order, size = rng.permutation(len(self.lengths)), self.batch * NEAR
        for begin in range(0, len(order), size):
            near = order[begin:begin + size]
            near = near[np.argsort(self.lengths[near], kind="stable")]
            batches = [near[i:i + self.batch] for i in range(0, len(near), self.batch)]
            for n in rng.permutation(len(batches)):
                rows = batches[n]
                ids, *rest = self.arrays
                longest = min(ids.shape[1], -(-int(self.lengths[rows].max()) // GRAIN) * GRAIN)
                yield np.ascontiguousarray(ids[rows, :longest]), *(a[rows] for a in rest)

    def padding(self) -> float:
        """The share of an epoch's positions that is padding."""
        positions = sum(x.size for x, *_ in self)
        return 1 - int(self.lengths.sum()) / positions


def lengths(ids: np.ndarray) -> np.ndarray:
    """i64[N]: ids up to the last that is no padding, at least 1."""
    there = ids != 0
    return np.maximum(1, np.where(there.any(1), ids.shape[1] - there[:, ::-1].argmax(1), 1))


def predicted(network: Any, ids: np.ndarray, batch: int = 64) -> np.ndarray:
    """The network's outputs for ids i32[N, longest], texts of similar length together."""
    network.network.fewer_steps = True
    sizes = np.minimum(ids.shape[1], -(-lengths(ids) // GRAIN) * GRAIN)
    parts = {int(n): np.flatnonzero(sizes == n) for n in np.unique(sizes)}
    out: np.ndarray | None = None
    for n, rows in parts.items():
        found = network.predict(np.ascontiguousarray(ids[rows, :n]), batch_size=batch)
        out = np.empty((len(ids), found.shape[1]), np.float32) if out is None else out
        out[rows] = found
    return np.empty((0, network.network.outputs[0].shape[-1]), np.float32) if out is None else out


def network(source: Any, length: int, outputs: int, *, dropout: float, output_activation: str, seed: int) -> Any:
    """ids [length] -> an encoder like the source's, with its values -> pooled as the source does -> Dropout -> Dense."""
    from dlcore import layers as L
    from dlcore.training.model import Model
    config = {**source.encoder.get_config(), "dropout": dropout, "name": "encoder"}
    encoder = L.BertEncoder(**config)
    ids = L.Input((length,), "int32")
    x = L.Pooled(source.pool)(encoder(ids))
    x = L.Dense(outputs, activation=output_activation, name="answers")(L.Dropout(dropout)(x) if dropout else x)
    for new, old in zip(encoder.variables, source.encoder.variables, strict=True):
        new.value = old.numpy()
    made = Model(ids, x, seed=seed)
    made.network.fewer_steps = True
    return made


def rates(source: Any, encoder_rate: float, layer_decay: float) -> dict[str, float]:
    """Factors of the learning rate by patterns of weights: the highest block learns at `encoder_rate`, each one below it at
    `layer_decay` of the one above; what is below the blocks comes last."""
    count = len(source.encoder.blocks)
    found = {f"encoder/block_{i}/*": encoder_rate * layer_decay ** (count - 1 - i) for i in range(count)}
    return {**found, "encoder/*": encoder_rate * layer_decay ** count}
