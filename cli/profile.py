"""`dlcore profile MODEL`: the kernel calls of one step, with what they cost and how long they take."""

from __future__ import annotations

from typing import Any

import click

from dlcore.cli import options
from dlcore.cli.console import result, result_json
from dlcore.errors import UsageError


@click.command(short_help="Show each kernel call of a model with its cost and time.", no_args_is_help=True)
@click.argument("model")
@click.option("--batch", type=options.Whole(min=1), default=64, show_default=True, help="Rows per step.")
@click.option("--train", "training", is_flag=True, help="A training step instead of a prediction.")
@click.option(
    "--repeats",
    type=options.Whole(min=1),
    default=20,
    show_default=True,
    help="Runs; the median of each call is shown.",
)
@click.option("--data", metavar="PATH", help="With --train: also train on this data, and show how long steps waited for it.")
@click.option("--augment", metavar="CHANGES", help="With --data: change the images so, as in dlcore train.")
@options.precision
@options.machine
@options.common
def command(
    model: str,
    batch: int,
    training: bool,
    repeats: int,
    data: str | None,
    augment: str | None,
    precision: str | None,
    device: str,
    threads: int | None,
    as_json: bool,
) -> None:
    """Plan a step of MODEL, a run folder or a model file, for BATCH rows, run it on made-up data and time every call.

    With --data it also trains some steps, in memory only, on batches that the loader's thread makes: how long did they wait?
    """
    from dlcore.cli.model import named, open_model
    from dlcore.runtime import default_threads, device_kind
    from dlcore.training.answers import check_training

    if data and not training:
        raise UsageError("only training steps wait for data", where="--data", hint="say --train too")
    options.use_threads(threads)
    if training and precision is not None:
        check_training(precision)
    loaded = open_model(model, precision)
    if augment is not None:
        if not (data and hasattr(loaded, "augment")):
            raise UsageError("--augment is for models of images, with --data", got=augment)
        loaded.set_params(augment=augment)
    instance = bind(loaded, batch, training, precision)
    facts = instance.program.describe()
    members = threads or min(facts["threads"], default_threads())
    seconds = instance.time(repeats, members)
    rows = [{**row, "seconds": time} for row, time in zip(instance.program.table(), seconds, strict=True)]
    report = {
        **named(model, precision),
        "batch": batch,
        "part": "train" if training else "predict",
        "device": device_kind(),
        "threads": members,
        "whole_step_us": whole_step(instance, repeats, members) * 1e6,
        **facts,
        **(loop_overhead(loaded.model, *made_up(loaded, batch)) if training else {}),
        "calls": rows,
    }
    if data:
        report["loader"] = loader(loaded, data, batch, repeats)
    if as_json:
        result_json(report)
    else:
        for line in lines(report):
            result(line)


def bind(loaded: Any, batch: int, training: bool, precision: str | None = None) -> Any:
    """An Instance of the step's program, its inputs zero.   precision: of a training step, by default float32"""
    from dlcore.tasks import recipe
    from dlcore.training.programs import signature

    network = getattr(loaded, "model", loaded)
    if not training:
        store = network.ensure_store()  # bound by itself, with what it prepares among its calls
        return store.bind(network.programs.program(signature(network, "predict", batch, inputs(network, batch))), {})
    if loaded is network:
        raise UsageError(
            "a bare network has no task that says how it is trained", where="--train", hint="leave out --train"
        )
    if not hasattr(loaded, "optimizer"):
        raise UsageError("this model is not trained here", where="--train", got=loaded.task, hint="leave out --train")
    recipe.sparse_tables(network, loaded)
    loaded._compile(network)
    network.precision = precision or network.precision
    x, y = made_up(loaded, batch)
    network.ensure_store()
    arrays = x if isinstance(x, list) else [x]
    runner = network.programs.runner(signature(network, "train", batch, arrays, [y]))
    runner.instance.run(**runner.constants, **{**runner.scalars, "step": 1})
    return runner.instance


def loader(loaded: Any, data: str, batch: int, steps: int) -> dict[str, float] | None:
    """How some training steps met the batches that the loader made; None where a step gathers its rows itself."""
    from dlcore.tasks import TASKS

    return loaded.measure_loader(TASKS[loaded.task].read(data, like=loaded).train, batch, steps)


def loader_line(times: dict[str, float] | None) -> str:
    """The same in a line."""
    if times is None:
        return "loader: none; the data lies in memory, and the step gathers its rows itself"
    return (
        f"loader: over {times['steps']:,} steps of {times['step'] * 1e6:,.0f} us, a step waited {times['waited'] * 1e6:,.1f} us"
        f" for its batch ({times['share']:.1%}), which took {times['made'] * 1e6:,.0f} us to make"
    )


def inputs(network: Any, batch: int) -> list[Any]:
    """Zeros for every input."""
    import numpy as np

    return [
        np.zeros((batch, *symbol.shape[1:]), np.int32 if symbol.dtype == "i32" else np.float32)
        for symbol in network.network.inputs
    ]


def made_up(loaded: Any, batch: int) -> tuple[Any, Any]:
    """Zeros for a step of an estimator, or what it takes for them: (inputs, answers)."""
    if hasattr(loaded, "made_up"):
        return loaded.made_up(batch)
    import numpy as np

    from dlcore.tasks import settings

    if hasattr(loaded, "made_up_boxes"):
        return inputs(loaded.model, batch), loaded.made_up_boxes(batch)
    classes = len(loaded.classes_) if hasattr(loaded, "classes_") else 0
    soft = settings.mixes_targets(loaded)
    y = np.zeros((batch, classes if soft else 1), np.float32) if soft or not classes else np.zeros(batch, np.int32)
    return inputs(loaded.model, batch), y


OVERHEAD_STEPS, OVERHEAD_EPOCHS, OVERHEAD_BYTES = 400, 9, 1 << 27


def loop_overhead(network: Any, x: Any, y: Any) -> dict[str, float]:
    """What `fit` adds to the program of a step, beside other work of an epoch: {"loop_overhead_us": microseconds a step}.

    Time that an epoch takes less the time that its kernels take, a median; the rows are these, repeated.
    """
    import statistics
    import time

    import numpy as np

    from dlcore.training import ArrayFeed, Loop, TrainingState, dataset

    rows = x if isinstance(x, list) else [x]
    steps = max(4, min(OVERHEAD_STEPS, OVERHEAD_BYTES // sum(a.nbytes for a in rows)))
    wide = [np.repeat(a, steps, axis=0) for a in rows]
    data = dataset.make(network, wide if len(wide) > 1 else wide[0], np.repeat(y, steps, axis=0))
    loop = Loop(network, ArrayFeed(network, data, len(y), True, 0), TrainingState(), OVERHEAD_EPOCHS + 1)
    found = []
    for number in range(OVERHEAD_EPOCHS + 1):
        before = loop.runner.instance.busy_ns if loop.runner else 0
        begin = time.perf_counter_ns()
        loop.run_epoch()
        taken = time.perf_counter_ns() - begin - (loop.runner.instance.busy_ns - before)  # type: ignore[union-attr]
        if number:  # the first plans and binds
            found.append(taken / 1e3 / steps)
    return {"loop_overhead_us": statistics.median(found)}


def whole_step(instance: Any, repeats: int, threads: int) -> float:
    """Seconds of a run of all calls without a clock between them, the median."""
    import statistics
    import time

    samples = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        instance.run(threads=threads)
        samples.append(time.perf_counter() - start)
    return statistics.median(samples[1:])


def place(report: dict[str, Any]) -> str:
    """What the step ran on, in words."""
    return f"{report['threads']} threads" if report["device"] == "cpu" else str(report["device"])


def lines(report: dict[str, Any]) -> list[str]:
    """The report for people: one line per call, then totals."""
    columns = (("us", 9), ("kB", 10), ("MFLOP", 10), ("GFLOP/s", 9), ("GB/s", 8))
    heads = "".join(f"{name:>{width}}" for name, width in columns)
    found = [f"{'':>4} {'segment':<9}{'group':>6}  {'call':<28}{heads}  kernel"]
    for i, row in enumerate(report["calls"]):
        seconds = max(row["seconds"], 1e-9)
        values = (
            seconds * 1e6,
            row["bytes"] / 1e3,
            row["flops"] / 1e6,
            row["flops"] / seconds / 1e9,
            row["bytes"] / seconds / 1e9,
        )
        cells = "".join(f"{value:>{width},.1f}" for value, (_, width) in zip(values, columns, strict=True))
        kernel = row["kernel"].partition("[")[0]
        found.append(
            f"{i:>4} {row['segment']:<9}{row['group']:>6}  {row['call'][:27]:<28}{cells}  {kernel}({row['shapes']})"
        )
    total = sum(row["seconds"] for row in report["calls"])
    found += [
        "",
        f"{len(report['calls'])} calls in {report['groups']} groups; sum of calls {total * 1e6:.1f} us,"
        f" whole step {report['whole_step_us']:.1f} us on {place(report)}",
        *([f"fit adds {report['loop_overhead_us']:.1f} us a step"] if "loop_overhead_us" in report else []),
        f"arena {report['arena']:,} bytes, {report['arena_ratio']:.3f} times the most that lives at once",
    ]
    return found + ([loader_line(report["loader"])] if "loader" in report else [])
