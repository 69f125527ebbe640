from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def wide_kernels():
    """The kernels that read f32 as f64: built beside the source if nobody did."""
    folder = Path(os.environ["DLCORE_WIDE_KERNELS"])
    if not (folder / "kernels.json").exists():
        subprocess.run([sys.executable, "-m", "dlcore.compiler", "--wide"], check=True, cwd=folder.parent.parent,
                       env={**os.environ, "DLCORE_BUILD_WIDE": "1"})
    return folder
