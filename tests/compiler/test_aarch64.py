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
from compiler.harness import HERE, Case, Library, assert_same, compile_rooms, in_python, random_case

from dlcore.compiler import levels
from dlcore.compiler.build import Build
from dlcore.compiler.language import KERNELS
from dlcore.graph.spec import Spec

NATIVE = levels.host_arch() == "aarch64"
COMPILER = "cc" if NATIVE else "aarch64-linux-gnu-gcc"
TOOLS = [COMPILER] + ([] if NATIVE else ["qemu-aarch64-static"])
CONSTANTS = levels.LEVELS["aarch64"].constants
pytestmark = pytest.mark.skipif(
    any(shutil.which(t) is None for t in TOOLS),
    reason=f"needs {' and '.join(TOOLS)} (packages gcc-aarch64-linux-gnu, qemu-user-static)",
)


class Machine:
    """The aarch64 kernels of some rooms in one program."""

    def __init__(self, folder: Path, rooms: str) -> None:
        compile_rooms("--levels", "aarch64", "--output", folder / "out", rooms=rooms)
        recipe = Build([levels.LEVELS["aarch64"]], folder / "out").recipe
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
    native = Library(Path(__file__).resolve().parents[2] / "dlcore" / "runtime")
    spec = native.spec(name)
    case = random_case(
        spec, spec.variants()[0], CONSTANTS, np.random.default_rng(7), positive=True, sizes={"N": 67, "S": 67}
    )
    wanted = case.copy()
    native.run(wanted, LOWEST)
    shipped.run(case)
    assert_same(case, wanted, 5e-6, name)


def test_a_product_of_matrices(shipped: Machine) -> None:
    """By the direct kernel and by packed panels, at sizes that meet the edges of the tiles."""
    table = Library(Path(__file__).resolve().parents[2] / "dlcore" / "runtime")
    rng = np.random.default_rng(9)
    M, N, K = 29, 43, 37
    a, b = rng.standard_normal((M, K)).astype(np.float32), rng.standard_normal((K, N)).astype(np.float32)

    def run(name: str, **arrays: np.ndarray) -> None:
        spec: Spec = table.spec(name)
        dims = spec.solve({n: v.shape for n, v in arrays.items()}, constants=CONSTANTS)
        shipped.run(Case(spec, dims, spec.symbols(CONSTANTS), arrays, {}, {i.name: 0 for i in spec.added}, "f32"))

    def zeros(*shape: int) -> np.ndarray:
        return np.full(shape, np.nan, np.float32)

    direct, packed = zeros(M, N), zeros(M, N)
    panels = zeros(-(-N // CONSTANTS["PANEL"]), K, CONSTANTS["PANEL"])
    blocks = zeros(-(-M // CONSTANTS["TILE"]), K, CONSTANTS["TILE"])
    run("multiply_nn", a=a, b=b, out=direct)
    run("pack_columns", b=b, panels=panels)
    run("pack_tile_rows", a=a, blocks=blocks)
    run("multiply_packed", blocks=blocks, panels=panels, out=packed)
    wanted = a.astype(np.float64) @ b
    for found in (direct, packed):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-6 * np.abs(wanted).max())
