"""Before a training that takes long: `--dry-run` says what it will need, `--overfit N` whether the network can learn at all."""

from __future__ import annotations

import contextlib
import resource
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from dlcore.cli.console import Console
from dlcore.cli.errors import refused
from dlcore.errors import UsageError
from dlcore.training.callbacks import Callback

if TYPE_CHECKING:
    from dlcore.cli.plan import Plan
    from dlcore.data.dataset import Parts

STEPS, SECONDS = 20, 2.0  # a dry run ends after so many steps, or so long
PATIENT_EPOCHS = 200  # for learning by heart, where the user did not say how many


class _Enough(Exception):
    """Ends the training of a dry run."""


class _Clock(Callback):
    """Times the first steps, then ends the training."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.steps = self.epochs = 0

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        self.steps, self.epochs = int(self.params["steps"]), int(self.params["epochs"])
        self._begin = self._last = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        now = time.perf_counter()
        self.seconds.append(now - self._last)
        self._last = now
        if len(self.seconds) == min(STEPS, self.steps) or now - self._begin > SECONDS:
            raise _Enough


def dry_run(console: Console, plan: Plan, parts: Parts, estimator: Any) -> dict[str, Any]:
    """Prepare everything, train a few steps, validate one batch; returns shapes, memory and estimated time."""
    clock = _Clock()
    with contextlib.suppress(_Enough), refused():
        estimator.fit(parts.train, callbacks=[clock], log=lambda line: console.say("train", line))
    network, settings = estimator.model, plan.sections
    rows = len(parts.train)
    validation = _validation(network, round(rows * settings["data"]["val-split"]))
    # the first step also plans and binds its program
    step = min(clock.seconds)
    epoch = clock.steps * step + validation
    epochs = clock.epochs
    memory = _memory(network)
    report = {
        "dry_run": True,
        "task": plan.task.name,
        "arch": plan.arch,
        "inputs": [list(symbol.shape[1:]) for symbol in network.network.inputs],
        "outputs": [list(symbol.shape[1:]) for symbol in network.network.outputs],
        "parameters": network.count_params(),
        "batch": settings["train"]["batch"],
        "steps_per_epoch": clock.steps,
        "memory": memory,
        "step_seconds": step,
        "epoch_seconds": epoch,
        "seconds": epoch * epochs * (1 + max(0, settings["data"]["folds"] - 1)),
    }
    shapes = " and ".join("x".join(map(str, shape)) for shape in (report["inputs"] + report["outputs"]))
    console.say("shapes", f"inputs and outputs of a row: {shapes}; {report['parameters']:,} weights")
    console.say(
        "memory",
        f"weights {memory['weights'] / 1e6:.1f} MB, gradients and optimizer {memory['training'] / 1e6:.1f} MB, "
        f"activations {memory['activations'] / 1e6:.1f} MB; this process so far {memory['process'] / 1e6:.0f} MB",
    )
    console.say(
        "time",
        f"{step * 1e3:.2f} ms a step, {epoch:.2f} s an epoch of {clock.steps:,} steps; "
        f"about {report['seconds']:.0f} s for {epochs} epochs" + (" in every fold" if plan.folded else ""),
    )
    console.say("", "nothing was written")
    return report


def _validation(network: Any, rows: int, batch: int = 256) -> float:
    """Seconds to validate `rows` rows, from one batch of zeros."""
    if rows == 0:
        return 0.0
    inputs = [
        np.zeros((min(batch, rows), *symbol.shape[1:]), np.int32 if symbol.dtype == "i32" else np.float32)
        for symbol in network.network.inputs
    ]
    given = inputs[0] if len(inputs) == 1 else inputs
    network.predict(given)
    begin = time.perf_counter()
    network.predict(given)
    return (time.perf_counter() - begin) * rows / len(inputs[0])


def _memory(network: Any) -> dict[str, int]:
    """Bytes by what they are for."""
    sizes = {name: buffer.nbytes for name, buffer in network.store.buffers.items()}
    arenas = [program.arena for program in network.programs.cache.values()]
    weights = sum(size for name, size in sizes.items() if name.split("/")[0] in ("weights", "statistics"))
    return {
        "weights": weights,
        "training": sum(sizes.values()) - weights,
        "activations": max(arenas, default=0),
        "process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def overfit(console: Console, plan: Plan, parts: Parts, estimator: Any, batches: int) -> dict[str, Any]:
    """Train on N batches without anything that keeps a network from learning them; returns how well it knows them.

    A network, loss and learning rate that cannot learn a handful of rows by heart will not learn more of them.
    """
    from dlcore.data.split import shuffled

    train, seed = parts.train, plan.sections["train"]["seed"]
    wanted = min(batches * plan.sections["train"]["batch"], len(train))
    chosen = np.sort(shuffled(len(train), seed)[:wanted])
    if hasattr(train.x, "part"):  # of a series so many windows, which follow each other
        chosen = np.arange(min(len(train), wanted + estimator.input + estimator.horizon - 1))
    rows = train.take(chosen)
    freed = {"val_split": 0.0, "dropout": 0.0, "weight_decay": 0.0, "patience": 0, "schedule": "constant"}
    if ("train", "epochs") not in plan.given:
        freed["epochs"] = PATIENT_EPOCHS
    estimator.set_params(**{name: value for name, value in freed.items() if name in estimator.get_params()})
    console.say("overfit", f"{len(rows):,} rows, by heart: no dropout, decay, schedule or validation")
    with refused():
        estimator.fit(rows, log=lambda line: console.say("train", line))
    metrics = dict(estimator.evaluate(rows))
    if not metrics:
        raise UsageError("this task has no metrics to tell what was learned")
    console.say("", "nothing was written")
    return {"overfit": batches, "task": plan.task.name, "arch": plan.arch, "rows": len(rows), "metrics": metrics}


def find_rate(console: Console, plan: Plan, parts: Parts, estimator: Any, out: str | None) -> dict[str, Any]:
    """Train with a growing learning rate; returns a suggestion and the file that the losses were written to."""
    from dlcore.cli import run_folder
    from dlcore.cli.errors import writing
    from dlcore.training.rate_finder import LearningRateFinder

    place = run_folder.choose(out, f"{plan.task.name}-lr-find")
    finder = LearningRateFinder()
    estimator.set_params(schedule="constant", patience=0, epochs=max(finder.steps, plan.sections["train"]["epochs"]))
    estimator.fit(parts.train, callbacks=[finder], log=lambda line: console.say("train", line))
    path = place / "learning_rates.csv"
    with writing(path):
        place.mkdir(parents=True, exist_ok=True)
        finder.to_csv(path)
    return {"lr_find": True, "suggestion": finder.suggestion, "csv": str(path), "steps": len(finder.rates)}
