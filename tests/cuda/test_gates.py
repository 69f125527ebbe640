"""What ptxas says of every kernel."""

from __future__ import annotations

import pytest

from dlcore.runtime.cuda_table import cuda_table

ENTRIES = [(name, dtypes, entry) for name, call in cuda_table().calls.items() for dtypes, entry in call["entries"].items()]
SHARED = 48 * 1024  # bytes that a block may have without asking
MOST_SHARED = 227 * 1024  # with asking, on Hopper
REGISTERS = 65536  # of a multiprocessor: at least one block must fit; a thread has a multiple of 8


@pytest.mark.parametrize("name, dtypes, entry", [pytest.param(*e, id=f"{e[0]}-{e[1]}") for e in ENTRIES])
def test_code_is_sound(name, dtypes, entry):
    """For every architecture: nothing spilt, no stack, shared memory and registers that a block can have."""
    assert set(entry["cubins"]) == set(entry["reports"]) == {"sm_80", "sm_90a", "sm_100"}
    for arch, report in entry["reports"].items():
        assert report["spills"] == report["stack"] == 0, f"{arch}: {report}"
        launch = entry["own_launches"].get(arch, entry)
        assert report["shared"] <= SHARED and -(-report["registers"] // 8) * 8 * launch["block"] <= REGISTERS, f"{arch}: {report}"
        most = MOST_SHARED if arch in entry["own_launches"] else SHARED
        assert report["shared"] + launch["shared"] <= most, f"{arch}: {report}"
        assert launch.get("cluster", 1) <= 8, "more blocks than every GPU with clusters takes"


def test_pieces_are_whole():
    table = cuda_table()
    for name, dtypes, entry in ENTRIES[:: max(1, len(ENTRIES) // 10)]:
        assert f".entry {entry['symbol']}(" in table.ptx(name, dtypes)
        assert all(table.cubin(name, dtypes, arch)[:4] == b"\x7fELF" for arch in table.arches)
