"""A run trained again from its configuration, to see that its weights come out the same, bit by bit."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from dlcore.cli.console import Console
from dlcore.cli.records import Record
from dlcore.cli.run_folder import CONFIG, MODEL
from dlcore.errors import DataError, DeviceError, GateError, UsageError


def verify(console: Console, run: Record) -> dict[str, Any]:
    """Train again and compare.  Raises GateError where a weight differs; DataError, DeviceError and UsageError where the
    run cannot be repeated here."""
    import dlcore
    from dlcore.cli import lock, plan, train
    from dlcore.cli.resume import find_data

    chosen = plan.make(str(run.path / CONFIG), {}, (), None, None)
    find_data(run.lock, chosen)
    check_repeatable(run, lock.sources(chosen))
    work = Path(tempfile.mkdtemp(prefix="dlcore-verify-"))
    try:
        train.train(console, chosen, str(work / "run"))
        first, second = dlcore.load(run.path / MODEL), dlcore.load(work / "run" / MODEL)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return {"run": str(run.path), **compare(first.get_weights(), second.get_weights(), str(run.path))}


def check_repeatable(run: Record, sources: list[str]) -> None:
    """Raises where the same bits cannot be expected: an unfinished run, other data, another processor level.
    sources: where the data of the run are now."""
    from dlcore.cli import lock
    from dlcore.runtime import kernel_table

    if not run.result or not (run.path / MODEL).exists():
        raise UsageError("the run did not come to its end", where=str(run.path), hint="dlcore resume, or train again")
    if run.config.get("run", {}).get("max-time"):
        raise UsageError("the run had a limit of time, and another computer stops elsewhere", where=str(run.path))
    for source, digest in zip(sources, run.lock.get("data", {}).values(), strict=False):
        if not digest.startswith("sha256:"):
            raise UsageError("the data came from standard input", where=str(run.path))
        found = lock.data_hash(source)
        if found != digest:
            raise DataError("the data have changed since the run", where=source, expected=digest, got=found)
    level = run.lock.get("machine", {}).get("level")
    if level != kernel_table().level:
        raise DeviceError(
            "another processor level computes other bits",
            where=str(run.path),
            expected=str(level),
            got=kernel_table().level,
            hint=f"DLCORE_CPU_LEVEL={level}, where this processor has it",
        )


def compare(first: list[Any], second: list[Any], where: str) -> dict[str, Any]:
    """Number of weights; raises GateError where one differs."""
    shapes = [[a.shape for a in arrays] for arrays in (first, second)]
    if shapes[0] != shapes[1]:
        raise GateError("the run trained again has another network", where=where)
    count = sum(a.size for a in first)
    differing = sum(int((a.view("u4") != b.view("u4")).sum()) for a, b in zip(first, second, strict=True))
    if differing:
        most = max(float(abs(a - b).max()) for a, b in zip(first, second, strict=True))
        raise GateError(
            "the run trained again has other weights",
            where=where,
            expected=f"{count:,} equal weights",
            got=f"{differing:,} differ, by at most {most:.3g}",
        )
    return {"weights": count, "identical": True}
