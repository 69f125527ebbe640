"""Scripts that print JSON, each run in a process of its own: the level is chosen when kernels are first asked for."""
from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import dlcore

TESTS = Path(__file__).parents[1]


def printed(script: str, level: str, lacking: str) -> Any:
    """What the script prints at a level; skips where the processor has no such instructions, which `lacking` names."""
    path = os.pathsep.join([str(Path(dlcore.__file__).parents[1]), str(TESTS)])
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=300,
                          env=os.environ | {"DLCORE_CPU_LEVEL": level, "PYTHONPATH": path})
    if done.returncode and "lacks the instructions" in done.stderr:
        pytest.skip(f"this processor has no {lacking}")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
