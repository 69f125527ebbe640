"""The team in C: under the thread sanitizer, and on aarch64."""
from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

import dlcore.runtime

# The sources stand beside the tests in a checkout, beside the package where it was built in place, and in no installation.
PLACES = Path(__file__).resolve().parents[2] / "dlcore" / "runtime", Path(dlcore.runtime.__file__).parent
HEADERS = next((place for place in PLACES if (place / "team.h").exists()), PLACES[-1])
SOURCE = Path(__file__).with_name("team.c")
pytestmark = pytest.mark.skipif(not (HEADERS / "team.h").exists(), reason="an installation has no C sources")


def build(folder: Path, compiler: str, *flags: str) -> Path:
    program = folder / "team"
    warnings = ["-Wall", "-Wextra", "-Werror", "-Wno-unused-function", "-pthread"]
    subprocess.run([compiler, "-O1", "-g", *warnings, *flags, f"-I{HEADERS}", "-o", str(program), str(SOURCE)],
                   check=True)
    return program


@pytest.mark.parametrize("sanitizer", ["thread", "address,undefined"])
def test_sanitizers_find_nothing(tmp_path, sanitizer):
    program = build(tmp_path, "gcc", f"-fsanitize={sanitizer}")
    done = subprocess.run([str(program)], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith("4 members, level ")


def test_aarch64(tmp_path):
    compiler, machine = "aarch64-linux-gnu-gcc", shutil.which("qemu-aarch64-static")
    if not (shutil.which(compiler) and machine):
        pytest.skip("needs the Debian packages gcc-aarch64-linux-gnu and qemu-user-static")
    program = build(tmp_path, compiler, "-static")
    done = subprocess.run([machine, "-cpu", "max", str(program)], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout) == (0, "4 members, level aarch64\n"), done.stderr
