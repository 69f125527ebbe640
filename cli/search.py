"""The search behind `dlcore tune`: trials on one Optuna study in the run folder, then one training with the best settings."""

from __future__ import annotations

import csv
import json
import math
import multiprocessing
import time
import tomllib
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dlcore.cli import folds, lock, options, run_folder
from dlcore.cli import plan as plans
from dlcore.cli.console import Console, number
from dlcore.cli.errors import similar, writing
from dlcore.cli.run_folder import RunFolder
from dlcore.cli.signals import held
from dlcore.cli.space import Dimension, parse
from dlcore.cli.toml_text import to_toml
from dlcore.errors import DivergedError, Interrupted, UsageError
from dlcore.tasks import recipe
from dlcore.tasks.processes import in_processes
from dlcore.training.callbacks import Callback
from dlcore.training.monitor import Monitor

TRIALS = 20  # where neither time nor trials were limited
STUDY, BASE, TABLE, NAME = "study.db", "tune.toml", "trials.csv", "dlcore"
SMALL = ("loss", "rmse", "mae", "mse", "error", "perplexity", "fid")  # metrics whose name ends so are better when smaller


@dataclass(frozen=True)
class Budget:
    """seconds in all, trials in this call, bytes of the model file; None is no limit."""

    seconds: float | None
    trials: int | None
    size: int | None


@dataclass(frozen=True)
class Search:
    """A search: the configuration that trials change, and what of it."""

    folder: RunFolder
    config: str  # the base configuration's file, or the task's name with `given`
    given: Mapping[str, Any]
    settings: tuple[str, ...]
    arch: str | None
    preset: str | None
    space: dict[str, Dimension]
    metric: str
    after: bool = False  # the metric is no epoch's: `evaluate` says it of a trained model

    def plan(self, values: Mapping[str, Any] | None = None) -> plans.Plan:
        """The checked configuration with these settings in it."""
        changed = [f"{key}={_toml(value)}" for key, value in (values or {}).items()]
        return plans.make(self.config, self.given, (*self.settings, *changed), self.arch, self.preset)

    @property
    def direction(self) -> Literal["minimize", "maximize"]:
        return "minimize" if self.metric.endswith(SMALL) else "maximize"

    def better(self, value: float, other: float) -> bool:
        return value < other if self.direction == "minimize" else value > other

    def storage(self) -> Any:
        """A connection of this process's own to the study's database."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)  # of a trial that is interrupted it would show the traceback
        # SQLite waits for whoever writes; several workers need more than its five seconds
        wait = {"connect_args": {"timeout": 60}}
        return optuna.storages.RDBStorage(f"sqlite:///{self.folder.path / STUDY}", engine_kwargs=wait)

    def study(self, seed: int, workers: int = 1, storage: Any = None) -> Any:
        """The study, begun where it is not."""
        import optuna

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that options are experimental
            sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=workers > 1)
        with held():
            return optuna.create_study(
                study_name=NAME,
                storage=storage or self.storage(),
                sampler=sampler,
                pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=2),
                direction=self.direction,
                load_if_exists=True,
            )


def started(
    console: Console,
    task: str,
    space: Sequence[str],
    metric: str | None,
    given: Mapping[str, Any],
    settings: tuple[str, ...],
    arch: str | None,
    preset: str | None,
    out: str | None,
) -> Search:
    """A new search in a new folder.  Raises UsageError and ConfigError before there is one."""
    base = plans.make(task, given, settings, arch, preset)
    if base.sections["data"]["train"] == "-":
        raise UsageError("a search reads its data more than once", where="--data -", hint="write them to a file first")
    if base.folded:
        raise UsageError(
            "a search compares trials on the rows kept for validation, not on folds", where="data.folds", hint="leave it out"
        )
    dimensions = parse(getattr(base.task, "space", {}), space)
    trial = Search(RunFolder(Path()), task, given, settings, arch, preset, dimensions, "")
    for key, dimension in dimensions.items():  # every setting is one that the task has, and may take these values
        for value in dimension.extremes():
            trial.plan({key: value})
    place = run_folder.choose(out, f"{base.task.name}-tune")
    parts = base.task.read(base.sections["data"]["train"], **base.reading())
    metric, after = chosen_metric(metric, base.task.create(parts.train, base.arch, **base.options()), parts.train.y)
    text = lock.text(base, {source: lock.data_hash(source) for source in lock.sources(base)})
    folder = RunFolder.start(place, base.toml(), text, numbered=out is None)
    shown = {key: _shown(dimension) for key, dimension in dimensions.items()}
    own: dict[str, Mapping[str, Any]] = {"space": shown, "search": {"metric": metric, "after": after}}
    with writing(folder.path / BASE):
        (folder.path / BASE).write_text(to_toml(base.task.name, own, header="what dlcore tune searches"), encoding="utf-8")
        (folder.path / "base.toml").write_text(base.toml(), encoding="utf-8")
    return Search(folder, task, given, settings, arch, preset, dimensions, metric, after)


def chosen_metric(metric: str | None, estimator: Any, y: Any) -> tuple[str, bool]:
    """(what trials are compared by, whether it is measured after the training).  UsageError for one that there will not be, where
    they are known, and where there is none to choose by default."""
    known = recipe.measured(estimator)
    after = estimator.measured_after(y) if hasattr(estimator, "measured_after") else []
    if metric is None and (after or not known or "val_loss" in known):
        return (after[0], True) if after else ("val_loss", False)
    if metric is None:
        raise UsageError("nothing is measured that trials are compared by where no metric is named", where="--metric",
                         expected=", ".join(known), hint="--metric NAME; or rows to validate on (--val-split)"
                         if "loss" in known else "--metric NAME; images with labels, or a judge, can be compared by their FID")
    if known and metric not in (*known, *after):
        guess = similar(metric, (*known, *after))
        raise UsageError(f"no metric is called {metric!r}", where="--metric", expected=", ".join((*after, *known)),
                         hint=f"did you mean {guess!r}?" if guess else "")
    return metric, metric in after


def resumed(
    task: str,
    space: Sequence[str],
    metric: str | None,
    given: Mapping[str, Any],
    settings: tuple[str, ...],
    arch: str | None,
    preset: str | None,
    out: str | None,
) -> Search | None:
    """The search in the folder `task`, or None if that is no folder of one.  Raises UsageError for other settings."""
    folder = Path(task)
    if not (folder / BASE).is_file():
        return None
    changed = [f"--{name.replace('_', '-')}" for name, value in given.items() if value not in (None, "auto")]
    named = {"--space": space, "--metric": metric, "--set": settings, "--arch": arch, "--preset": preset, "--out": out}
    changed = [name for name in changed if name != "--threads"] + [name for name, value in named.items() if value]
    if changed:
        raise UsageError("a search goes on with the settings that it began with", where=task, got=", ".join(changed),
                         hint="leave them out, or start a new search")
    own = tomllib.loads((folder / BASE).read_text(encoding="utf-8"))
    dimensions = {key: Dimension.parse(key, text) for key, text in own["space"].items()}
    chosen = own["search"]
    return Search(RunFolder(folder), str(folder / "base.toml"), {}, (), None, None, dimensions, chosen["metric"],
                  bool(chosen.get("after", False)))


def run(console: Console, search: Search, budget: Budget, workers: int) -> dict[str, Any]:
    """Search, then train with the best settings; returns what `--json` prints."""
    from dlcore.cli.train import train

    begin = time.monotonic()
    deadline = math.inf if budget.seconds is None else begin + budget.seconds
    base = search.plan()
    options.use_device(base.sections["run"]["device"])
    options.use_threads(base.sections["run"]["threads"] or None)
    console.open_log(search.folder.open_log())
    console.say("tune", f"{search.folder.path} · {search.metric}, {search.direction}d · {_limits(budget, workers)}")
    console.say("space", *[f"{key} {_shown(dimension)}" for key, dimension in search.space.items()])
    try:
        parts = base.task.read(base.sections["data"]["train"], **base.reading())
        before = _forget_unfinished(search)
        claims = multiprocessing.get_context("fork").Value("q", -1 if budget.trials is None else budget.trials)
        seed = base.sections["train"]["seed"] + before

        def work(worker: int) -> None:
            _trials(console, search, parts, budget, deadline, claims, search.study(seed + 7919 * worker, workers))

        for _ in in_processes(work, workers, workers):
            pass
    except KeyboardInterrupt:
        raise Interrupted("the search was stopped", where=str(search.folder.path),
                          got=f"{_write_table(search)} trials are kept", hint=f"dlcore tune {search.folder.path}") from None
    count = _write_table(search)
    best = _best(search)
    values = {key: search.space[key].read(value) for key, value in best.params.items()}
    console.say("best", f"trial {best.number + 1} of {count}: {search.metric} {number(best.value)}", _listed(values))
    chosen = search.plan(values)
    for name in ("metrics.jsonl", "model.dlc", folds.PREDICTIONS):  # of an earlier search in this folder
        (search.folder.path / name).unlink(missing_ok=True)
    search.folder.write(run_folder.CONFIG, chosen.toml())
    report = train(console, chosen, None, search.folder)
    return {**report, "trials": count, "best": values, "best_trial": best.number + 1, "search_seconds": time.monotonic() - begin}


def _trials(console: Console, search: Search, parts: Any, budget: Budget, deadline: float, claims: Any, study: Any) -> None:
    """One worker: trials until time or number is used up."""
    import optuna

    def objective(trial: Any) -> float:
        with held():
            values = {key: dimension.suggest(trial) for key, dimension in search.space.items()}
        candidate = search.plan(values)
        watch = _Watch(search, trial, budget.size, deadline)
        begin = time.perf_counter()
        state = "pruned"
        try:
            estimator: Any = candidate.task.create(parts.train, candidate.arch, **candidate.options())
            watch.follow(recipe.of(estimator)["monitor"])
            estimator.fit(parts.train, callbacks=[watch])
            if search.after:
                watch.value = float(estimator.evaluate(parts.train)[search.metric])
            if budget.size is not None:
                watch.check_file(estimator, search.folder.path / f".trial-{trial.number}.dlc")
            state = "done"
        except (DivergedError, UsageError) as fault:
            if fault.where == "--metric":
                raise
            watch.reason = fault.message  # settings that do not go together are no reason to end the search
            raise optuna.TrialPruned from None
        finally:
            shown = f"{search.metric} {number(watch.value)}" if watch.epochs else ""
            why = f" ({watch.reason or 'stopped early'})" if state == "pruned" else ""
            console.say("trial", f"{trial.number + 1:>3}  {shown}{why}  {_listed(values)}  {time.perf_counter() - begin:.1f}s")
        return watch.value

    while _claim(claims) and time.monotonic() + _last_training(study) < deadline:
        _trial(study, objective)


def _trial(study: Any, objective: Callable[[Any], float]) -> None:
    """One trial.  Optuna's own steps are not interrupted: `Study.optimize` asserts that the end of a trial was told whole."""
    import optuna

    value, state = None, None
    with held():
        trial = study.ask()
    try:
        value = objective(trial)
    except optuna.TrialPruned:
        state = optuna.trial.TrialState.PRUNED
    except BaseException:
        with held():
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        raise
    with held():
        study.tell(trial, value, state)


class _Watch(Callback):
    """Tells Optuna each epoch, and ends a trial that is too large, too late, or worse than the others."""

    def __init__(self, search: Search, trial: Any, size: int | None, deadline: float):
        self.search, self.trial, self.size, self.deadline = search, trial, size, deadline
        self.value, self.epochs, self.reason = math.nan, 0, ""
        self.follow(recipe.VAL_LOSS)

    def follow(self, monitor: str) -> None:
        """The metric of an epoch that the kept weights go by."""
        self.watched = Monitor(monitor)
        self._best = self.watched.worst

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        if self.size is not None and 4 * self.model.count_params() > self.size:
            self._prune(f"{4 * self.model.count_params():,} bytes of weights are too many")

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        if time.monotonic() > self.deadline:
            self._prune("the time is over")

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        logs = logs or {}
        if self.search.after:
            self.epochs += 1
            return
        if self.search.metric not in logs:
            raise UsageError(f"no metric is called {self.search.metric!r}", expected=", ".join(logs), where="--metric")
        self.epochs += 1
        # the value is that of the epoch whose weights are kept
        watched, name = self.watched, self.watched.name
        if name not in logs or self.epochs == 1 or watched.better(logs[name], self._best):
            self._best, self.value = logs.get(name, watched.worst), logs[self.search.metric]
        with held():
            self.trial.report(self.value, epoch)
            pruned = self.trial.should_prune()
        if pruned:
            self._prune("")

    def check_file(self, estimator: Any, place: Path) -> None:
        """Prunes a trial whose model file is too large."""
        estimator.save(str(place))
        size = place.stat().st_size
        place.unlink()
        if self.size is not None and size > self.size:
            self._prune(f"a file of {size:,} bytes is too large")

    def _prune(self, reason: str) -> None:
        import optuna

        self.reason = reason
        raise optuna.TrialPruned


def _claim(claims: Any) -> bool:
    """Whether one more trial may begin; counts it, over all workers."""
    with claims.get_lock():
        if claims.value == 0:
            return False
        claims.value -= claims.value > 0
        return True


def _last_training(study: Any) -> float:
    """Seconds that the training with the best settings so far will take."""
    with held():
        done = _completed(study)
    if not done:
        return 0.0
    best = (min if study.direction.name == "MINIMIZE" else max)(done, key=lambda trial: trial.value)
    return float(best.duration.total_seconds())


def _completed(study: Any) -> list[Any]:
    import optuna

    return study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))


def _best(search: Search) -> Any:
    study = search.study(0)
    done = _completed(study)
    if not done:
        raise UsageError("no trial was finished, so there are no best settings", where=str(search.folder.path),
                         hint="give more --time or --trials, or a larger --max-size; the search can go on: "
                         f"dlcore tune {search.folder.path}")
    return study.best_trial


def _forget_unfinished(search: Search) -> int:
    """Trials that an earlier call left unfinished count as failed; returns how many there were in all."""
    import optuna

    storage = search.storage()
    study = search.study(0, storage=storage)
    for trial in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    count = len(study.trials)
    storage.remove_session()  # no connection may be shared with a forked worker
    storage.engine.dispose()
    return count


def _write_table(search: Search) -> int:
    """trials.csv; returns the number of trials."""
    trials = search.study(0).trials
    with writing(search.folder.path / TABLE), open(search.folder.path / TABLE, "w", encoding="utf-8", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(["trial", "state", search.metric, *search.space, "seconds"])
        for trial in trials:
            settings = [_toml(d.read(trial.params[key])) if key in trial.params else "" for key, d in search.space.items()]
            seconds = f"{trial.duration.total_seconds():.3f}" if trial.duration else ""
            last = trial.value if trial.value is not None else trial.intermediate_values.get(trial.last_step, "")
            out.writerow([trial.number + 1, trial.state.name.lower(), last, *settings, seconds])
    return len(trials)


def _limits(budget: Budget, workers: int) -> str:
    limits = [f"{budget.trials} trials" if budget.trials else "", f"{budget.seconds:g} s" if budget.seconds else "",
              f"files up to {budget.size:,} bytes" if budget.size else ""]
    return " · ".join(limit for limit in limits if limit) + (f" · {workers} workers" if workers > 1 else "")


def _listed(values: Mapping[str, Any]) -> str:
    return " · ".join(f"{key} {f'{value:.4g}' if isinstance(value, float) else value}" for key, value in values.items())


def _shown(dimension: Dimension) -> str:
    if dimension.choices:
        return _toml(list(dimension.choices))
    return f"{dimension.low}..{dimension.high}" + (":log" if dimension.log else "")


def _toml(value: Any) -> str:
    return json.dumps(value) if not isinstance(value, bool) else str(value).lower()
