"""What all optimizers have in common: which weights one call updates, the guard, the clipping of gradients."""
from __future__ import annotations

from typing import Any

from dlcore.errors import UsageError
from dlcore.ops import check_finite, clip_factor, concat, norm


class Optimizer:
    """The base class.

    learning_rate    what the host puts into slot `lr`, a positive number
    weight_decay     decoupled for AdamW, added to the gradient (L2) for SGD; weights of the group "no_decay" are left out
    global_clipnorm  greatest norm of all gradients together; longer ones are shortened.  None: as they are
    name             goes before the names of its state, so that two optimizers of one model do not meet

    UsageError where a number is out of its range.
    """

    def __init__(self, learning_rate: float, weight_decay: float = 0.0, global_clipnorm: float | None = None,
                 name: str = "") -> None:
        self.learning_rate = checked("learning_rate", learning_rate, learning_rate >= 0, "at least 0")
        self.weight_decay = checked("weight_decay", weight_decay, weight_decay >= 0, "at least 0")
        self.global_clipnorm = global_clipnorm
        if global_clipnorm is not None:
            checked("global_clipnorm", global_clipnorm, global_clipnorm > 0, "above 0, or None")
        self.name = name or type(self).__name__.lower()

    def get_config(self) -> dict[str, Any]:
        """The arguments that make an equal optimizer."""
        return {"learning_rate": self.learning_rate, "weight_decay": self.weight_decay,
                "global_clipnorm": self.global_clipnorm, "name": self.name}

    def update(self, graph: Any, weights: list[Any]) -> Any:
        """Puts the calls that update these weights by their gradients into the segment `update` of the graph.

        Returns the norm of all gradients (f32[1]), which a program may have as an output."""
        with graph.in_segment("update"):
            runs = self.runs(graph, weights)
            gradients = [graph.flat("gradients", run) for run in runs]
            norms = [norm(g) for g in gradients]
            total = norms[0] if len(norms) == 1 else norm(concat(norms))
            status = check_finite(total, graph.status)
            factor = None if self.global_clipnorm is None else clip_factor(total, self.global_clipnorm)
            for run, gradient in zip(runs, gradients, strict=True):
                decay = self.weight_decay if graph.parameters.places[run[0].name].group != "no_decay" else 0.0
                self.update_run(graph, run, gradient, status, factor, decay)
        return total

    def runs(self, graph: Any, weights: list[Any]) -> list[list[Any]]:
        """The weights in lists that lie side by side and are updated alike."""
        named = {w.name: w for w in weights}
        places, parts = graph.parameters.places, []
        for plain in (False, True) if self.weight_decay else (None,):
            names = [n for n in named if plain is None or (places[n].group == "no_decay") == plain]
            parts += [[named[n] for n in run] for run in graph.parameters.runs(names)]
        if not parts:
            raise UsageError("an optimizer got no weights to update")
        return parts

    def state(self, graph: Any, kind: str, run: list[Any], size: int) -> Any:
        """f32[size] of the optimizer's own, for one list of weights."""
        return graph.state(f"{self.name}/{kind}/{run[0].name}:{run[-1].name}", size)

    def update_run(self, graph: Any, run: list[Any], gradient: Any, status: Any, factor: Any, decay: float) -> None:
        raise NotImplementedError


def checked(name: str, value: float, holds: bool, expected: str) -> float:
    if not holds:
        raise UsageError(f"{name} is out of its range", expected=expected, got=str(value))
    return float(value)


def get(optimizer: Any) -> Optimizer:
    """An optimizer, from itself or from a name ("sgd", "adam", "adamw") with its default settings."""
    if isinstance(optimizer, Optimizer):
        return optimizer
    from dlcore.optim import SGD, Adam, AdamW
    known: dict[str, type[Any]] = {"sgd": SGD, "adam": Adam, "adamw": AdamW}
    if not isinstance(optimizer, str) or optimizer.lower() not in known:
        raise UsageError("an optimizer that is not there", expected=", ".join(known), got=repr(optimizer))
    made: Optimizer = known[optimizer.lower()]()
    return made
