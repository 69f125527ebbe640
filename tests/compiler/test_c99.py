"""The C text of every kernel: clean under -Wall -Wextra -Werror, and the native kernel's results."""

from __future__ import annotations

import ctypes
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from compiler.conftest import LOWEST
from compiler.harness import ROOT, Case, Library, assert_same, compile_rooms, random_case

from dlcore.compiler import c99, levels

FLAGS = ["-std=c99", "-O2", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off"]
FOLDER = ROOT / "dlcore" / "runtime"


def source(table: dict, names: list[str]) -> str:
    """One file with these kernels, each with a visible entry call_<name>."""
    kernels = [table["kernels"][n] for n in names]
    needed = {f for k in kernels for f in k["needs"]}
    functions = [text for name, text in table["functions"].items() if name in needed]
    shown = [
        f"{c99.ENTRY.format('call_' + n).removeprefix('static ')}\n"
        f"{{\n    {k['symbol']}(begin, end, dims, pointers, scalars);\n}}\n"
        for n, k in zip(names, kernels, strict=True)
    ]
    return "\n".join([table["prelude"], *functions, *(k["text"] for k in kernels), *shown])


def library(folder: Path, table: dict) -> ctypes.CDLL:
    (folder / "kernels.c").write_text(source(table, sorted(table["kernels"])))
    done = subprocess.run(
        ["cc", *FLAGS, "-shared", "-fPIC", "kernels.c", "-o", "c99.so", "-lm"],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[:4000]
    return ctypes.CDLL(str(folder / "c99.so"))


class Pair:
    """Native kernels and their C text, compiled."""

    def __init__(self, native: Library, folder: Path) -> None:
        self.native, self.table = native, json.loads((native.folder / "kernels_c99.json").read_text())
        self.c = library(folder, self.table)
        assert self.table["constants"] == levels.C99.constants

    def compare(self, case: Case, tolerance: float) -> None:
        wanted = case.copy()
        self.native.run(wanted, LOWEST)
        case.run(self.c[f"call_{case.spec.name}"])
        assert_same(case, wanted, tolerance, f"{case.spec.name} {case.scalars}")

    def cases(self, name: str) -> list[Case]:
        spec = self.native.spec(name)
        dtypes = self.table["kernels"][name]["dtypes"]
        bound = next(b for b in spec.variants() if spec.key(b) == dtypes)
        rng = np.random.default_rng(len(name))
        numbers = [{"activation": a} for a in range(10)] if any(i.name == "activation" for i in spec.scalars) else [{}]
        return [
            random_case(spec, bound, levels.C99.constants, rng, positive=positive, absent=positive, scalars=s)
            for positive in (False, True)
            for s in numbers
        ]


needs_x86 = pytest.mark.skipif(
    levels.host_arch() != "x86_64", reason="v2 has the constants of the C level; aarch64 has not"
)


@needs_x86
def test_the_toy_kernels_agree(toy: Library, tmp_path: Path) -> None:
    pair = Pair(toy, tmp_path)
    assert set(pair.table["kernels"]) == {n for n, c in toy.table["calls"].items() if c["entries"]["cpu"]}
    for name in pair.table["kernels"]:
        for case in pair.cases(name):
            pair.compare(case, 2e-6)


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder = tmp_path_factory.mktemp("c99")
    compile_rooms("--levels", LOWEST, "--output", folder, rooms="")
    return Pair(Library(folder), folder)


@needs_x86
def test_every_kernel_of_dlcore_agrees(shipped: Pair) -> None:
    has_f32 = {n for n in shipped.native.table["calls"] if shipped.native.symbols(n, LOWEST)}
    assert set(shipped.table["kernels"]) == has_f32
    faults = []
    for name in sorted(has_f32):
        try:
            for case in shipped.cases(name):
                shipped.compare(case, 2e-5)
        except AssertionError as e:
            faults.append(str(e))
    assert not faults, "\n".join(faults)


@needs_x86
def test_each_kernel_is_complete_by_itself(shipped: Pair, tmp_path: Path) -> None:
    for name in list(shipped.table["kernels"])[::7]:
        (tmp_path / "one.c").write_text(source(shipped.table, [name]))
        done = subprocess.run(["cc", *FLAGS, "-fsyntax-only", "one.c"], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, f"{name}: {done.stderr}"


def test_the_text_allocates_nothing(shipped: Pair) -> None:
    text = source(shipped.table, sorted(shipped.table["kernels"]))
    assert not any(word in text for word in ("malloc", "calloc", "alloca", "stdlib", "stdio"))


@pytest.mark.parametrize(
    "body, message",
    [
        ("out[:] = 0", "a slice other than|a whole row"),
        ("out[0] = [1, 2][0]", "List is not in the language"),
        ("for v in x:\n        out[0] = v", "a loop that is not over range"),
        ("try:\n        out[0] = 1\n    finally:\n        pass", "Try is not in the language"),
        ("out[0] = unknown(x[0])", "not known here"),
        ("out[0] = x[0] // x[1]", "// and % are for integers"),
        ("out[0] = hash(x[0])", "hash has no counterpart in C"),
    ],
)
def test_what_is_not_in_the_language_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, message: str
) -> None:
    import importlib

    from dlcore.compiler.gate import CompileError
    from dlcore.compiler.language import KERNELS
    from dlcore.graph.declaration import DECLARATIONS

    monkeypatch.syspath_prepend(tmp_path)
    name = f"outside_{abs(hash(body))}"
    (tmp_path / f"{name}.py").write_text(
        f"from dlcore.compiler.language import call, kernel\n"
        f'call("{name}(x: f32[N] -> out: f32[N])", over="N")\n'
        f"@kernel\ndef {name}(x, out):\n    {body}\n"
    )
    importlib.import_module(name)
    kernel, spec = KERNELS.pop(name)[0], DECLARATIONS.pop(name).spec
    with pytest.raises(CompileError, match=message):
        c99.translate_kernel(c99.Texts(), kernel, spec, {})
