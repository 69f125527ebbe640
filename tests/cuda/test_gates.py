"""What ptxas says of every kernel, and that every room has some."""

from __future__ import annotations

from pathlib import Path

import pytest

import dlcore
from dlcore.runtime.cuda_table import cuda_table

PACKAGE = Path(dlcore.__file__).parent
ROOMS = sorted(p.parent.name for family in ("ops", "optim") for p in (PACKAGE / family).glob("*/cpu.py"))
ENTRIES = [(name, dtypes, entry) for name, call in cuda_table().calls.items() for dtypes, entry in call["entries"].items()]
SHARED = 48 * 1024  # bytes that a block may have without asking
REGISTERS = 65536  # of a multiprocessor: at least one block must fit


@pytest.mark.parametrize("name, dtypes, entry", [pytest.param(*e, id=f"{e[0]}-{e[1]}") for e in ENTRIES])
def test_code_is_sound(name, dtypes, entry):
    """For every architecture: nothing spilt, no stack, shared memory and registers that a block can have."""
    assert set(entry["cubins"]) == set(entry["reports"]) == {"sm_80", "sm_90a", "sm_100"}
    for arch, report in entry["reports"].items():
        assert report["spills"] == report["stack"] == 0, f"{arch}: {report}"
        assert report["shared"] <= SHARED and report["registers"] * entry["block"] <= REGISTERS, f"{arch}: {report}"


@pytest.mark.parametrize("room", ROOMS, ids=lambda r: f"{r}-has-kernels")
def test_room_has_kernels(room):
    """Each room has a device file."""
    (folder,) = (p.parent for family in ("ops", "optim") for p in (PACKAGE / family).glob(f"{room}/cpu.py"))
    assert (folder / "cuda.py").is_file()


def test_pieces_are_whole():
    table = cuda_table()
    for name, dtypes, entry in ENTRIES[:: max(1, len(ENTRIES) // 10)]:
        assert f".entry {entry['symbol']}(" in table.ptx(name, dtypes)
        assert all(table.cubin(name, dtypes, arch)[:4] == b"\x7fELF" for arch in table.arches)
