"""Classifiers of texts on an encoder that is there already: what `text-classify --arch bert --init MODEL` begins with.

The encoder learns more slowly than the new layer behind it, and each of its blocks more slowly than the one above (Howard and
Ruder, Universal language model fine-tuning, 2018): what it knows is kept, most of all below.
"""
from __future__ import annotations

from pathlib import Path
from typing import Any

from dlcore.errors import UsageError


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
