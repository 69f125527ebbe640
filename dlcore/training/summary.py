"""A model as a table: its layers, their outputs and how many weights they have."""
from __future__ import annotations

from typing import TYPE_CHECKING

from dlcore.layers.layer import Symbol

if TYPE_CHECKING:
    from dlcore.training.model import Model


def summary_text(model: Model) -> str:
    """The table, ready to be printed."""
    rows = [("layer (type)", "output shape", "weights")]
    shapes = {id(node.layer): node.outputs for node in model.network.nodes} if model.built else {}
    for s in model.network.inputs if model.built else ():
        rows.append((f"{s.name or 'input'} (Input)", shape_text([s]), "0"))
    for layer in model.layers:
        outputs = shapes.get(id(layer))
        rows.append((f"{layer.name} ({type(layer).__name__})", shape_text(outputs) if outputs else "?",
                     f"{layer.count_params():,}" if layer._built else "?"))
    wide = [max(len(row[i]) for row in rows) for i in range(3)]
    lines = [f"{a:<{wide[0]}}  {b:<{wide[1]}}  {c:>{wide[2]}}" for a, b, c in rows]
    rule = "-" * len(lines[0])
    total, trained = model.count_params(), sum(v.size for v in model.trainable_variables)
    foot = f"weights: {total:,}, of which trained: {trained:,} ({total * 4 / 1e6:.2f} MB)"
    return "\n".join([f"{type(model).__name__} {model.name!r}", rule, lines[0], rule, *lines[1:], rule, foot])


def shape_text(outputs: list[Symbol]) -> str:
    return ", ".join(str(s.shape) for s in outputs)
