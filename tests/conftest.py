"""What every test has: the installed package, the wide kernels that the build left beside the source, the `dlcore` command."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
DATA = TESTS / "data"

# Kernels that read f32 as f64: finite differences run on them.  A build under DLCORE_BUILD_WIDE=1 leaves them here; tests that lie
# apart from the source are told the place by the caller's environment.
os.environ.setdefault("DLCORE_WIDE_KERNELS", str(ROOT / "build" / "wide"))

# Processes that tests start see the package that is tested, not the source tree that they may stand in.
# Options for this run of pytest are not for those that tests start.
os.environ["PYTHONSAFEPATH"] = "1"
os.environ.pop("PYTEST_ADDOPTS", None)

# torch is no requirement of the tests: where it is missing, tests/parity is not collected and the header says so.
HAS_TORCH = importlib.util.find_spec("torch") is not None
# CUDA kernels are built where their tools are; where they are missing, tests/cuda is not collected and the header says so.
PACKAGE = importlib.util.find_spec("dlcore").submodule_search_locations[0]  # type: ignore[union-attr, index]
HAS_CUDA_KERNELS = "DLCORE_CUDA_KERNELS" in os.environ or (Path(PACKAGE) / "runtime" / "kernels_cuda.json").exists()
collect_ignore = ([] if HAS_TORCH else ["parity"]) + ([] if HAS_CUDA_KERNELS else ["cuda"])


def pytest_report_header() -> list[str]:
    import dlcore

    lines = [
        f"dlcore: {dlcore.__version__} from {Path(dlcore.__file__).parent}",
        f"wide kernels: {os.environ['DLCORE_WIDE_KERNELS']}",
    ]
    if not HAS_CUDA_KERNELS:
        lines.append("tests of CUDA kernels are left out: they are not built (pip install '.[cuda-build]')")
    if not HAS_TORCH:
        lines.append("parity tests are left out: torch is not installed (pip install '.[compare]')")
    return lines


@pytest.fixture(scope="session")
def mnist() -> Path:
    """A cut of MNIST in idx files: 3,000 training and 1,000 test images."""
    return DATA / "mnist"


class Command:
    """Runs the installed `dlcore` in a process of its own."""

    def __init__(self, folder: Path):
        self.folder = folder
        script = Path(sysconfig.get_path("scripts")) / "dlcore"
        self.words = [str(script)] if script.exists() else [sys.executable, "-m", "dlcore.cli"]

    def __call__(
        self,
        *arguments: object,
        code: int = 0,
        stdin: str | bytes = b"",
        environment: dict[str, str] | None = None,
        **options: object,
    ) -> subprocess.CompletedProcess[str]:
        """The finished process; fails the test unless it exited with `code`."""
        if isinstance(stdin, str):
            stdin = stdin.encode()
        done = subprocess.run(
            [*self.words, *map(str, arguments)],
            cwd=self.folder,
            input=stdin,
            capture_output=True,
            timeout=300,
            env={**os.environ, **(environment or {})},
            **options,
        )  # type: ignore[call-overload]
        text = subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())
        assert text.returncode == code, (
            f"{arguments} exited {text.returncode}, not {code}\n{text.stdout}\n{text.stderr}"
        )
        return text


@pytest.fixture
def dlcore_command(tmp_path: Path) -> Command:
    """`dlcore_command("train", ...)` runs the installed command in a fresh folder."""
    return Command(tmp_path)


class InProcess:
    """Runs `dlcore` in this process, in a folder of its own: as the command does, but for signals and its start-up."""

    def __init__(self, folder: Path, capture: pytest.CaptureFixture[str]):
        self.folder, self.capture = folder, capture

    def __call__(self, *arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
        """What was printed; fails the test unless the exit code is `code`."""
        from dlcore.cli.main import run

        words = [str(argument) for argument in arguments]
        before = os.getcwd()
        os.chdir(self.folder)
        self.capture.readouterr()
        try:
            got = run(words)
        finally:
            os.chdir(before)
        out, err = self.capture.readouterr()
        assert got == code, f"{words} exited {got}, not {code}\n{out}\n{err}"
        return subprocess.CompletedProcess(words, got, out, err)


@pytest.fixture
def cli(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> InProcess:
    """`cli("train", ...)` runs a command in this process, in a fresh folder."""
    return InProcess(tmp_path, capsys)
