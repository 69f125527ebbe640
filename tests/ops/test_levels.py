"""The same cases at every CPU level that this machine can run, and in debug mode: guard zones, poison, inputs checked.

Each in a process of its own, because level and mode are chosen when the kernels are loaded.
"""
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dlcore.runtime import cpu_level, kernel_table

HERE = Path(__file__).parent


def run_tests(files: tuple[str, ...], **environment: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "--no-header", "-p", "no:cacheprovider", "--rootdir",
               str(HERE.parent.parent), *[str(HERE / f) for f in files]]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, cwd=HERE.parent.parent)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert " passed" in done.stdout


def lower_levels() -> list[str]:
    """The levels below this machine's own that the library has kernels for."""
    order = kernel_table().data["order"]
    return order[:order.index(cpu_level())] if cpu_level() in order else []


@pytest.mark.slow
@pytest.mark.parametrize("level", lower_levels())
def test_level(level):
    run_tests(("test_values.py", "test_gradients.py", "test_formulas.py"), DLCORE_CPU_LEVEL=level)


@pytest.mark.slow
def test_debug():
    run_tests(("test_values.py", "test_gradients.py"), DLCORE_DEBUG="1")
