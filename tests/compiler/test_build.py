"""The build: objects are made once, alike everywhere, and listed in kernels.json."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from compiler.conftest import LOWEST
from compiler.harness import HERE, Library, compile_rooms

from dlcore.compiler import levels

ROOM = '''\
import numpy as np
from dlcore.compiler.language import call, formula, kernel, lowered

call("first(x: f32[N] -> out: f32[N])", over="N")
call("second(x: f32[N] -> out: f32[N])", over="N")
SLOPE = np.float32(2)

@formula
def line(x):
    return x * SLOPE

@kernel
def first(x, out):
    for i in range(x.shape[0]):
        out[i] = line(x[i])

@kernel
def second(x, out):
    """Copies."""
    for i in range(x.shape[0]):
        out[i] = x[i]
'''


class Folder:
    """A room of one file, and its builds."""

    def __init__(self, at: Path, cache: Path | None = None) -> None:
        self.at, self.cache = at, cache or at / "cache"

    def build(self, text: str, code: int = 0, **environment: str) -> str:
        (self.at / "changing_room.py").write_text(text)
        done = compile_rooms(
            "--levels",
            LOWEST,
            "--output",
            self.at / "out",
            "--cache",
            self.cache,
            "--jobs",
            "1",
            rooms="changing_room",
            environment={"PYTHONPATH": str(self.at), **environment},
            code=code,
        )
        return done.stdout + done.stderr

    def compiled(self, text: str) -> int:
        found = re.search(r"compiling (\d+) of", self.build(text))
        return int(found[1]) if found else 0


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Objects that several tests share."""
    return tmp_path_factory.mktemp("objects")


def test_only_what_changed_is_compiled(folder: Folder) -> None:
    assert folder.compiled(ROOM) == 2
    assert folder.compiled(ROOM) == 0
    assert (
        folder.compiled(ROOM.replace("import numpy", "# a comment\nimport numpy").replace("Copies", "Still copies"))
        == 0
    )
    assert folder.compiled(ROOM.replace("out[i] = x[i]", "out[i] = -x[i]")) == 1, "a kernel"
    assert folder.compiled(ROOM.replace("x * SLOPE", "x + SLOPE")) == 1, "a formula of one kernel"
    assert folder.compiled(ROOM.replace("np.float32(2)", "np.float32(3)")) == 1, "a constant of a formula"
    assert (
        folder.compiled(
            ROOM.replace(
                'first(x: f32[N] -> out: f32[N])", over="N"', 'first(x: f32[N] -> +out: f32[N])", over="N"'
            ).replace("def first(x, out)", "def first(x, out, add_out)")
        )
        == 1
    ), "a spec"
    assert folder.compiled(ROOM) == 0, "what was built before is still there"


def test_an_unchanged_library_is_not_written_again(folder: Folder) -> None:
    folder.build(ROOM)
    before = {p.name: p.stat().st_mtime_ns for p in (folder.at / "out").iterdir()}
    folder.build(ROOM)
    assert before == {p.name: p.stat().st_mtime_ns for p in (folder.at / "out").iterdir()}


@pytest.mark.parametrize(
    "change, message",
    [
        (("def first(x, out)", "def first(x, y, out)"), "parameter 'y' is not in its spec"),
        (("def first(x, out)", "def first(x)"), "takes no 'out'"),
        (('-> out: f32[N])", over="N")\ncall', '-> +out: f32[N])", over="N")\ncall'), "takes no 'add_out'"),
        (("SLOPE = ", 'lowered("first", "third(x -> out)")\nSLOPE = '), "no call 'third' is declared"),
        (("SLOPE = ", 'lowered("first", "second(x, x -> out)")\nSLOPE = '), "second reads 2 names"),
        (("SLOPE = ", 'lowered("first", "second(x -> other)")\nSLOPE = '), "out is never written"),
        (("SLOPE = ", 'lowered("first", "second(x -> out)", when="N <")\nSLOPE = '), "a condition that cannot be read"),
        (("SLOPE = ", 'lowered("first", "second x -> out")\nSLOPE = '), "a line that cannot be read"),
        (("SLOPE = ", "import nowhere_to_be_found\nSLOPE = "), "No module named 'nowhere_to_be_found'"),
        (('call("second', 'call("another'), "no call 'second' is declared"),
    ],
)
def test_faults_are_told_and_the_exit_code_is_1(
    tmp_path: Path, kept: Path, change: tuple[str, str], message: str
) -> None:
    assert change[0] in ROOM
    assert message in Folder(tmp_path, kept).build(ROOM.replace(*change), code=1)


def test_two_kernels_for_one_entry_are_refused(folder: Folder) -> None:
    again = (
        ROOM + "\n@kernel(name='second')\ndef other(x, out):\n    for i in range(x.shape[0]):\n        out[i] = x[i]\n"
    )
    assert "2 kernels 'second' for f32" in folder.build(again, code=1)
    folder.build(again.replace("@kernel(name='second')", "@kernel(name='second', levels=('v4_bf16',))"))


def test_objects_are_the_same_wherever_they_are_built(tmp_path: Path) -> None:
    found = []
    for place, seed, cpu in (("a", "0", "haswell"), ("b/deeper", "4711", "generic")):
        at = tmp_path / place
        at.mkdir(parents=True)
        for name in ("toy_room.py",):
            shutil.copy(HERE / name, at / "copied_room.py")
        compile_rooms(
            "--levels",
            LOWEST,
            "--output",
            at / "out",
            "--cache",
            at / "cache",
            "--jobs",
            "1" if place == "a" else "2",
            rooms="copied_room",
            environment={
                "PYTHONPATH": str(at),
                "PYTHONHASHSEED": seed,
                "NUMBA_CPU_NAME": cpu,
                "NUMBA_CPU_FEATURES": "",
                "NUMBA_OPT": "3" if place == "a" else "1",
            },
        )
        found.append({p.name: p.read_bytes() for p in [*(at / "cache").glob("*.o"), *(at / "out").iterdir()]})
    assert found[0].keys() == found[1].keys() and len(found[0]) > 10
    assert all(found[0][name] == found[1][name] for name in found[0])


def test_the_table(toy: Library, toy_wide: Library) -> None:
    table = toy.table
    assert (table["version"], table["arch"], table["order"]) == (1, levels.host_arch(), [LOWEST])
    assert table["levels"][LOWEST]["constants"] == levels.LEVELS[LOWEST].constants
    call = table["calls"]["toy_bytes"]
    assert call["spec"].startswith("toy_bytes(") and call["over"] == "N" and call["G"] == ["u8", "i8", "i64", "f32"]
    assert call["entries"]["cpu"][LOWEST] == {d: f"dl_toy_bytes_{d}_{LOWEST}" for d in ("u8", "i8", "i64", "f32")}
    assert table["calls"]["toy_lowered"]["entries"] == {"cpu": {}}
    assert table["lowerings"] == {
        "toy_lowered": [{"steps": [["toy_affine", ["x", "2", "0"], ["out"]]], "when": "S <= 96", "product": "f32"}]
    }
    assert set(toy_wide.symbols("toy_affine", LOWEST)) == {"f64", "i32"} and toy_wide.table["wide"]


def test_levels_are_chosen_by_name() -> None:
    assert "no level 'v9'" in compile_rooms("--levels", "v9", code=2).stderr
    assert "two architectures" in compile_rooms("--levels", "v2,aarch64", code=2).stderr
