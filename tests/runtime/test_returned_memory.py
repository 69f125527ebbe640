"""What the C library keeps of freed memory is returned to the system."""
import ctypes
from pathlib import Path

import numpy as np
import pytest

from dlcore.runtime.buffers import return_freed


def resident() -> int:
    """Bytes of this process that lie in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="the C library is not glibc")
def test_freed_blocks_leave_the_process():
    blocks = [np.ones(12_000) for _ in range(400)]      # 96 kB each: of the heap, not mapped one by one
    kept = np.ones(12_000)                              # above them, so that the heap cannot shrink by itself
    del blocks
    before = resident()
    return_freed()
    assert before - resident() > 20 << 20 and kept.sum() == 12_000


def test_other_c_libraries_are_left_alone(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert return_freed() is None
