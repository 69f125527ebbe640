"""What the compiler's tests share: the toy room, built once for the levels of this machine's architecture and wide."""

from __future__ import annotations

from pathlib import Path

import pytest
from compiler.harness import Library, compile_rooms

from dlcore.compiler import levels

LOWEST = levels.levels_of(levels.host_arch())[0].name


@pytest.fixture(scope="session")
def toy_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toy")
    compile_rooms("--levels", LOWEST, "--wide", "--output", folder / "out", "--cache", folder / "cache")
    return folder


@pytest.fixture(scope="session")
def toy(toy_folder: Path) -> Library:
    return Library(toy_folder / "out")


@pytest.fixture(scope="session")
def toy_wide(toy_folder: Path) -> Library:
    return Library(toy_folder / "out" / "wide")
