"""aarch64: objects that are compiled here, linked statically with a small driver, and run under qemu (or natively
there)."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
from compiler import toy_room
from compiler.conftest import LOWEST
from compiler.harness import HERE, ROOT, Case, Library, assert_same, compile_rooms, in_python, random_case

from dlcore.compiler import levels
from dlcore.compiler.build import Build
from dlcore.compiler.language import KERNELS

NATIVE = levels.host_arch() == "aarch64"
COMPILER = "cc" if NATIVE else "aarch64-linux-gnu-gcc"
TOOLS = [COMPILER] + ([] if NATIVE else ["qemu-aarch64-static"])
CACHE = Path(__file__).resolve().parents[2] / "build" / "kernels"       # what was compiled for an earlier run serves again
CONSTANTS = levels.LEVELS["aarch64"].constants
pytestmark = pytest.mark.skipif(
    any(shutil.which(t) is None for t in TOOLS),
    reason=f"needs {' and '.join(TOOLS)} (packages gcc-aarch64-linux-gnu, qemu-user-static)",
)


class Machine:
    """The aarch64 kernels of some rooms in one program."""

    def __init__(self, folder: Path, rooms: str) -> None:
        self.folder = folder
        compile_rooms("--levels", "aarch64", "--output", folder / "out", "--cache", CACHE, rooms=rooms)
        recipe = Build([levels.LEVELS["aarch64"]], folder / "out", cache=CACHE).recipe
        self.symbols, names = zip(*(line.split() for line in recipe.read_text().splitlines()), strict=True)
        self.objects = [recipe.parent / name for name in names]
        table = (
            "".join(f"void {s}();\n" for s in self.symbols)
            + f"void *const entries[] = {{ {', '.join(self.symbols)} }};\n"
        )
        (folder / "table.c").write_text(table)
        self.program = folder / "program"
        subprocess.run(
            [
                COMPILER,
                "-O1",
                "-static",
                "-w",
                str(HERE / "driver.c"),
                "table.c",
                *map(str, self.objects),
                "-lm",
                "-o",
                str(self.program),
            ],
            cwd=folder,
            check=True,
        )

    def run(self, case: Case, begin: int = 0, end: int | None = None) -> None:
        symbol = f"dl_{case.spec.name}_{case.dtypes}_aarch64"
        arrays, slots = [case.arrays[a.name] for a in case.spec.arrays], case.slots()
        text = struct.pack(
            "<6q",
            self.symbols.index(symbol),
            begin,
            case.extent if end is None else end,
            len(case.symbols),
            len(arrays),
            len(slots) // 8,
        )
        text += struct.pack(f"<{len(case.symbols)}q", *(case.dims[s] for s in case.symbols)) + slots
        for a in arrays:
            text += struct.pack("<q", -1) if a is None else struct.pack("<q", a.nbytes) + a.tobytes()
        words = [str(self.program)] if NATIVE else ["qemu-aarch64-static", str(self.program)]
        out = subprocess.run(words, input=text, capture_output=True, check=True).stdout
        at = 0
        for a in arrays:
            if a is not None:
                a[...] = np.frombuffer(out, a.dtype, a.size, at).reshape(a.shape)
                at += a.nbytes
        assert at == len(out)


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    return Machine(tmp_path_factory.mktemp("toys"), "compiler.toy_room")


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    rooms = ("arithmetic", "activation", "reduction", "layernorm", "softmax_cross_entropy", "matmul")
    return Machine(tmp_path_factory.mktemp("shipped"), ",".join(f"dlcore.ops.{r}.cpu" for r in rooms))


def test_the_program_is_aarch64(toys: Machine) -> None:
    assert re.search(rb"\x7fELF\x02\x01.{12}\xb7\x00", toys.program.read_bytes()[:20], re.DOTALL)


def test_toy_kernels_agree_with_numpy(toys: Machine, toy: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toy_room, "PANEL", CONSTANTS["PANEL"])
    rng = np.random.default_rng(5)
    names = sorted(n for n, k in KERNELS.items() if k[0].python.__module__ == toy_room.__name__)
    for name in names:
        spec = toy.spec(name)
        for bound in spec.variants():
            case = random_case(spec, bound, CONSTANTS, rng)
            wanted = case.copy()
            in_python(KERNELS[name][0], wanted)
            toys.run(case)
            assert_same(case, wanted, 2e-6, f"{name} {case.dtypes}")


@pytest.mark.parametrize(
    "name",
    [
        "add",
        "mul_row",
        "exp_forward",
        "log_forward",
        "layernorm_forward",
        "layernorm_backward_rows",
        "cross_entropy_forward",
        "cross_entropy_backward",
    ],
)
def test_kernels_agree_with_those_of_this_machine(shipped: Machine, name: str) -> None:
    native = Library(ROOT / "dlcore" / "runtime")
    spec = native.spec(name)
    case = random_case(
        spec, spec.variants()[0], CONSTANTS, np.random.default_rng(7), positive=True, sizes={"N": 67, "S": 67}
    )
    wanted = case.copy()
    native.run(wanted, LOWEST)
    shipped.run(case)
    assert_same(case, wanted, 5e-6, name)


def lowered(machine: Machine, table: Library, call: str, alternative: int, arrays: dict[str, np.ndarray]) -> np.ndarray:
    """The output of a call, by the kernels that one of its lowerings names."""
    outer = table.spec(call)
    sizes = outer.solve({n: a.shape for n, a in arrays.items()})
    for inner, reads, writes in table.table["lowerings"][call][alternative]["steps"]:
        spec = table.spec(inner)
        found = {item.name: arrays[name] for item, name in zip(spec.arguments, reads, strict=True)}
        given = {s: sizes[s] for s in spec.sizes if s in sizes}
        dims = spec.solve({n: a.shape for n, a in found.items()}, given, CONSTANTS)
        for item in spec.arrays:
            found.setdefault(item.name, np.full(spec.shape(item, dims), np.nan, np.float32))
        add = {i.name: 0 for i in spec.added}
        machine.run(Case(spec, dims, spec.symbols(CONSTANTS), dict(found), {}, add, "f32"))
        arrays |= {name: found[item.name] for item, name in zip(spec.outputs, writes, strict=True)}
    return arrays["out"]


@pytest.mark.parametrize("M, N, K", [(1, 43, 37), (29, 43, 37), (48, 96, 24)])
def test_a_product_of_matrices(shipped: Machine, M: int, N: int, K: int) -> None:
    """By every lowering that serves one row or several, at sizes that meet the edges of the tiles."""
    table = Library(shipped.folder / "out", load=False)
    rng = np.random.default_rng(9)
    a, b = rng.standard_normal((M, K)).astype(np.float32), rng.standard_normal((K, N)).astype(np.float32)
    wanted = a.astype(np.float64) @ b
    ran = 0
    for i, lowering in enumerate(table.table["lowerings"]["matmul_nn"]):
        if lowering["product"] == "f32" and (lowering["when"] != "M == 1" or M == 1):
            found = lowered(shipped, table, "matmul_nn", i, {"a": a, "b": b})
            np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-6 * np.abs(wanted).max(), err_msg=str(lowering))
            ran += 1
    assert ran > 1
