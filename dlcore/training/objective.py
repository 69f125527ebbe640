"""What a model is trained for: a loss per output, their weights, metrics; and how they become tensors of a graph."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dlcore import ops
from dlcore.errors import ShapeError, UsageError
from dlcore.training import losses as losses_module
from dlcore.training import metrics as metrics_module
from dlcore.training.network import Network

if TYPE_CHECKING:
    from dlcore.graph import Tensor


class Objective:
    """symbols, target_names: of the outputs that have a loss, in order.

    names: what an epoch reports, the total loss first; `finish` turns the means of an epoch into these."""

    def __init__(self, network: Network, loss: Any, loss_weights: Any, metrics: Any, weighted_metrics: Any):
        outputs = network.output_names()
        chosen = _per_output(loss, outputs, "loss")
        self.indices = [i for i, one in enumerate(chosen) if one is not None]
        if not self.indices:
            raise UsageError("the model has no loss", hint='compile(loss="mean_squared_error")')
        self.losses = [losses_module.get(chosen[i]) for i in self.indices]
        self.symbols = [network.outputs[i] for i in self.indices]
        self.target_names = [outputs[i] for i in self.indices]
        factors = _per_output(loss_weights, outputs, "loss_weights")
        self.factors = [1.0 if factors[i] is None else float(factors[i]) for i in self.indices]
        lists = (False, _lists(metrics, outputs)), (True, _lists(weighted_metrics, outputs))
        self.metrics = [[(metrics_module.get(m, one), by_weight) for by_weight, found in lists for m in found[i]]
                        for i, one in zip(self.indices, self.losses, strict=True)]
        self.several = len(outputs) > 1
        self.names: list[str] = ["loss"] + ([f"{n}_loss" for n in self.target_names] if len(self.indices) > 1 else [])
        self.finishers: list[Any] = [None] * len(self.names)
        self.by_weight: list[int] = []          # places of the metrics that are weighted means
        for name, found in zip(self.target_names, self.metrics, strict=True):
            for metric, by_weight in found:
                label = f"{name}_{metric.name}" if self.several else metric.name
                self.names.append(_free(label, self.names, by_weight))
                self.finishers.append(metric.finish)
                if by_weight:
                    self.by_weight.append(len(self.names) - 1)

    def kind(self, i: int, array: np.ndarray) -> str:
        """How target i is given to its loss: "ids" or "float"; to one of the user's own as it comes: "any",
        "integers"."""
        kind = self.losses[i].targets
        return "integers" if kind == "any" and array.dtype != np.float32 else kind

    def tensors(self, outputs: list[Tensor], targets: list[Tensor], weight: Tensor | None,
                penalties: Sequence[Tensor] = ()) -> tuple[Tensor, Tensor, Tensor]:
        """(loss per sample, sums of what is reported: f32[width], the loss per sample times its weight).

        penalties: f32[1] each, that the reported sum of the loss contains."""
        parts, reported = [], []
        for i, loss in enumerate(self.losses):
            out, target = outputs[self.indices[i]], targets[i]
            value = per_sample(loss(target, out), loss.name)
            parts.append(value if self.factors[i] == 1 else ops.scale(value, self.factors[i]))
            if len(self.losses) > 1:
                reported.append(value if weight is None else ops.mul(value, weight))
        total = parts[0]
        for part in parts[1:]:
            total = ops.add(total, part)
        weighted = total if weight is None else ops.mul(total, weight)
        for i, found in enumerate(self.metrics):
            for metric, by_weight in found:
                value = per_sample(metric(targets[i], outputs[self.indices[i]]), metric.name)
                reported.append(ops.mul(value, weight) if by_weight and weight is not None else value)
        sums = [ops.sum(t) for t in (weighted, *reported)]
        for penalty in penalties:
            sums[0] = ops.add(sums[0], penalty)
        if self.by_weight:
            sums.append(ops.fill(total.shape[0], 1, graph=total.graph) if weight is None else ops.sum(weight))
        return total, sums[0] if len(sums) == 1 else sums[0].graph.concat(sums), weighted

    @property
    def width(self) -> int:
        """How many sums a step reports: one for each name, and that of the weights where a metric is weighted."""
        return len(self.names) + bool(self.by_weight)

    def logs(self, totals: Sequence[float], rows: float) -> dict[str, float]:
        """Means over samples by name, from their sums; those of weighted metrics over the weights."""
        means = [float(t) / rows for t in totals[:len(self.names)]]
        for i in self.by_weight:
            means[i] = float(totals[i]) / float(totals[-1]) if totals[-1] else 0.0
        return {n: f(m) if f else m for n, m, f in zip(self.names, means, self.finishers, strict=True)}

    def config(self) -> dict[str, Any]:
        """Losses, weights and metrics for a model file; metrics of the user's own are left out."""
        return {"loss": [losses_module.serialise(one) for one in self.losses], "outputs": self.target_names,
                "loss_weights": self.factors,
                "metrics": [[m.saved for m, weighted in found if m.saved and not weighted] for found in self.metrics],
                "weighted_metrics": [[m.saved for m, weighted in found if m.saved and weighted]
                                     for found in self.metrics]}


def per_sample(value: Tensor, name: str) -> Tensor:
    """One value per sample: further axes are averaged."""
    if not hasattr(value, "shape") or not value.shape:
        raise ShapeError(f"{name} must return one value per sample", expected="a tensor with the batch first",
                         got=repr(getattr(value, "shape", value)), hint="do not reduce over the batch")
    rest = value.size // value.shape[0]
    if value.shape == (value.shape[0],):
        return value
    return value.reshape(value.shape[0]) if rest == 1 else ops.scale(ops.row_sum(value.reshape(value.shape[0], rest)),
                                                                     1 / rest)


def _free(label: str, taken: Sequence[str], weighted: bool) -> str:
    """The label, or "weighted_accuracy" beside "accuracy"; UsageError where that is taken too."""
    if label in taken and weighted:
        label = "weighted_" + label
    if label in taken:
        raise UsageError(f"two metrics are called {label!r}", hint="name them apart")
    return label


def _per_output(value: Any, outputs: Sequence[str], what: str) -> list[Any]:
    """`value` for each output: one for all, or a list or dict of them (None: none)."""
    if isinstance(value, Mapping):
        if unknown := [n for n in value if n not in outputs]:
            raise UsageError(f"{what} names an output that is not there", expected=", ".join(outputs),
                             got=", ".join(unknown))
        return [value.get(n) for n in outputs]
    if isinstance(value, (list, tuple)):
        if len(value) != len(outputs):
            raise UsageError(f"{what} needs one entry per output", expected=f"{len(outputs)}: {', '.join(outputs)}",
                             got=str(len(value)))
        return list(value)
    return [value] * len(outputs)


def _lists(metrics: Any, outputs: Sequence[str]) -> list[list[Any]]:
    """Metrics of each output.  With several outputs a plain list names one entry per output; with one, its metrics."""
    if metrics is None:
        return [[] for _ in outputs]
    if len(outputs) == 1 and not isinstance(metrics, Mapping):
        return [list(metrics) if isinstance(metrics, (list, tuple)) else [metrics]]
    return [[] if m is None else list(m) if isinstance(m, (list, tuple)) else [m]
            for m in _per_output(metrics, outputs, "metrics")]
