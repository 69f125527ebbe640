"""`dlcore doctor`: what is installed, which kernels run here and why, and whether they are right."""

from __future__ import annotations

import os
import platform
import sys
import time
from importlib import metadata
from typing import Any

import click

import dlcore
from dlcore.cli import options
from dlcore.cli.console import result, result_json
from dlcore.errors import DlcoreError


@click.command(short_help="Check this installation: CPU level, threads, kernels, gradients.")
@options.device
@options.common
def command(device: str, as_json: bool) -> None:
    """Check this installation in a few seconds; the exit code is 1 where a check fails.

    --device cuda checks the kernels of the GPU in the place of the processor's: that each loads, gradients, a training."""
    facts: dict[str, Any] = {
        "dlcore": dlcore.__version__,
        "python": platform.python_version(),
        "numpy": metadata.version("numpy"),
        "system": f"{platform.system()} {platform.machine()}",
    }
    facts |= _runtime()
    checks = _checks()
    if as_json:
        result_json({**facts, "checks": checks})
    else:
        for name, value in facts.items():
            result(f"{name:<10}{value}")
        for check in checks:
            result(
                f"{'ok' if check['ok'] else 'FAILED':<10}{check['name']}: {check['found']}  ({check['seconds']:.1f} s)"
            )
    if not all(check["ok"] for check in checks):
        raise DlcoreError(
            "this installation is not sound",
            got=", ".join(check["name"] for check in checks if not check["ok"]),
            hint="install dlcore again; if it stays so, report the lines above",
        )


def _runtime() -> dict[str, Any]:
    from dlcore.runtime import default_threads, kernel_table
    from dlcore.runtime.threads import cores
    from dlcore.training.answers import missing

    table = kernel_table()
    chosen = "DLCORE_THREADS" if os.environ.get("DLCORE_THREADS") else "one per core"
    return {
        "level": f"{table.reason}; built: {', '.join(table.data['order'])}",
        "kernels": f"{len(table.calls)} calls in {table.folder}",
        "products": ", ".join(precision for precision in options.ANSWERS if not missing(precision)),
        "threads": f"at most {default_threads()} ({chosen}); {cores()} cores; no OpenMP",
        "cuda": _cuda(),
        "compiler": "none at run time" if not {"numba", "llvmlite"} & sys.modules.keys() else "Numba has been imported",
    }


def _checks() -> list[dict[str, Any]]:
    from dlcore.cli import selftest

    found = []
    for name, check in selftest.CHECKS.items():
        begin = time.perf_counter()
        try:
            ok, text = check()
        except Exception as fault:  # a broken installation may raise anything; the report says what
            ok, text = False, f"{type(fault).__name__}: {fault}"
        found.append({"name": name, "ok": ok, "found": text, "seconds": round(time.perf_counter() - begin, 3)})
    return found


def _cuda() -> str:
    """What there is for a GPU."""
    from dlcore.runtime.cuda_driver import Driver, words
    from dlcore.runtime.cuda_table import cuda_table

    try:
        table = cuda_table()
        kernels = f"{sum(len(c['entries']) for c in table.calls.values())} kernels for {', '.join(table.arches)}"
    except DlcoreError as fault:
        return f"CPU-only: {fault.message}; {fault.hint}"
    try:
        driver = Driver()
        facts = [driver.describe(n) for n in range(driver.count())]
        found = ", ".join(
            "{} ({}.{}, {:.0f} GiB)".format(f["name"], *f["capability"], f["memory"] / 2**30) for f in facts
        )
        return f"{kernels}; driver for CUDA {words(driver.version)}; {found or 'no GPU'}"
    except DlcoreError as fault:
        return f"{kernels}; {fault.message}; {fault.hint}"
