"""Helpers of these tests lie beside this folder: `ptx`, the interpreter, and `ops.harness`."""

from __future__ import annotations

import sys
from pathlib import Path

TESTS = str(Path(__file__).resolve().parent.parent)
if TESTS not in sys.path:
    sys.path.append(TESTS)
