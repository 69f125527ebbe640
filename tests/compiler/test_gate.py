"""Kernels never allocate and call nothing but libm, memcpy, memmove and memset."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from compiler.conftest import LOWEST
from compiler.harness import ROOT, compile_rooms

from dlcore.compiler import gate


def compiled(folder: Path, text: str) -> bytes:
    (folder / "x.c").write_text(text)
    subprocess.run(["cc", "-O1", "-fno-builtin", "-c", "x.c", "-o", "x.o"], cwd=folder, check=True)
    return (folder / "x.o").read_bytes()


@pytest.mark.parametrize(
    "name", ["malloc", "free", "printf", "NRT_MemInfo_alloc_aligned", "__truncsfbf2", "pthread_create"]
)
def test_a_foreign_symbol_is_refused(tmp_path: Path, name: str) -> None:
    data = compiled(tmp_path, f"void *{name}(unsigned long); void dl_x(void **p) {{ *p = {name}(8); }}")
    with pytest.raises(gate.CompileError, match=f"dl_x needs {name}"):
        gate.check(data, "dl_x")


def test_libm_and_memory_are_let_through(tmp_path: Path) -> None:
    text = "float expf(float); void *memset(void *, int, unsigned long); void dl_x(float *p)"
    text += " { memset(p, 0, 4); *p = expf(*p); }"
    gate.check(compiled(tmp_path, text), "dl_x")


def test_a_second_visible_symbol_is_refused(tmp_path: Path) -> None:
    with pytest.raises(gate.CompileError, match="shows other symbols"):
        gate.check(compiled(tmp_path, "int helper(void) { return 1; } int dl_x(void) { return helper(); }"), "dl_x")


def test_what_is_no_object_is_refused() -> None:
    with pytest.raises(gate.CompileError, match="ELF"):
        gate.symbols(b"#!/bin/sh\n" * 10)


def test_a_kernel_that_allocates_fails_natively_and_in_c(tmp_path: Path) -> None:
    done = compile_rooms(
        "--levels",
        LOWEST,
        "--output",
        tmp_path / "out",
        "--cache",
        tmp_path / "cache",
        rooms="compiler.allocating_room",
        code=1,
    )
    assert f"dl_allocating_f32_{LOWEST}: " in done.stderr and "work = np.zeros" in done.stderr
    assert "C99 of allocating" in done.stderr and "zeros has no counterpart in C" in done.stderr
    table = json.loads((tmp_path / "out" / "kernels.json").read_text())
    assert not table["calls"]["allocating"]["entries"]["cpu"], "the faulty kernel is no entry"
    assert table["calls"]["sound"]["entries"]["cpu"], "a fault in one kernel keeps no other back"
    assert set(json.loads((tmp_path / "out" / "kernels_c99.json").read_text())["kernels"]) == {"sound"}


def test_objects_of_the_tree_pass(tmp_path: Path) -> None:
    objects = sorted((ROOT / "build" / "kernels").glob("*.o"))[:200]
    for path in objects:
        undefined, shown = gate.symbols(path.read_bytes())
        assert undefined <= gate.ALLOWED and len(shown) == 1, path
