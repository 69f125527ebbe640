"""Files that are there whole or not at all: a temporary neighbour, fsync, rename, fsync of the folder."""
from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from dlcore.errors import WriteError

TEMPORARY = ".tmp"


@contextmanager
def all_or_nothing(path: Path, what: str = "the file", remove: Callable[[Path], None] | None = None) -> Iterator[Path]:
    """A temporary neighbour of `path` to write into; it is removed, and a WriteError says why, if anything fails."""
    temporary = path.parent / f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}{TEMPORARY}"
    try:
        yield temporary
    except BaseException as error:
        try:
            remove(temporary) if remove else temporary.unlink(missing_ok=True)
        except OSError:
            pass                               # the first failure is the one to report
        if isinstance(error, OSError) and not isinstance(error, WriteError):
            raise WriteError(f"{what} could not be written", where=str(path), got=error.strerror or str(error),
                             hint="what stood there before is unchanged") from error
        raise


def write_text(path: Path, text: str) -> None:
    """Replaces a small file."""
    with all_or_nothing(path) as temporary:
        with open(temporary, "x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Makes names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_leftovers(folder: Path) -> None:
    """Removes temporary files that a killed process left; nobody else may be writing in the folder."""
    for path in folder.glob(f".*{TEMPORARY}"):
        if path.is_file():
            path.unlink(missing_ok=True)
