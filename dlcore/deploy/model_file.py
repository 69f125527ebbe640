"""`model.dlc`: one file, or a folder with the same contents, that holds a model and knows nothing of models.

    config.json          what the model is: `model_type`, `format_version`, layers, options
    model.safetensors    its arrays, each on a multiple of 64 bytes, so that a load maps them
    preprocess.json, labels.json, ...    whatever else the way from raw input to an answer needs
    README.md            the model card

The file is an uncompressed zip whose comment is `sha256:` and the digest of every byte before it; the folder holds
`SHA256SUMS`, which leaves out the README.  A digest is for accidents: what is read is validated as if there were none.
"""
from __future__ import annotations

import hashlib
import json
import mmap
import os
import re
import stat
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from dlcore import __version__
from dlcore.deploy import safetensors, stored_zip
from dlcore.deploy.atomic import all_or_nothing, sync_folder
from dlcore.deploy.strict_json import parse_json
from dlcore.errors import ModelFileError, UsageError

FORMAT_VERSION = 1
CONFIG, TENSORS, CARD, SUMS = "config.json", "model.safetensors", "README.md", "SHA256SUMS"
_CONFIG_LIMIT, _EXTRA_LIMIT, _PARTS_LIMIT = 4 << 20, 64 << 20, 64
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,60}\.(json|md|txt)")


class ModelFile(NamedTuple):
    """What a model file holds: `extras` maps file names to parsed JSON (`*.json`) or text (`*.md`, `*.txt`)."""

    config: dict[str, Any]
    tensors: dict[str, np.ndarray]
    extras: dict[str, Any]


# ---- writing ---------------------------------------------------------------------------------------------------------

def write(path: str | os.PathLike[str], config: Mapping[str, Any], tensors: Mapping[str, np.ndarray],
          extras: Mapping[str, Any] | None = None, *, folder: bool = False) -> None:
    """Write a model file, or with `folder=True` a folder, whole or not at all.

    `config` needs a `model_type`.  `extras` maps names such as `preprocess.json` to JSON data, or `README.md` to text.
    A file that stands at `path` is replaced; a folder that stands there must be empty.  Equal contents give equal
    bytes.  Raises `WriteError` if the disk is full or the place cannot be written, and `UsageError` for contents that
    cannot be saved; both leave what stood there as it was.
    """
    parts = _parts(config, tensors, dict(extras or {}))
    (_write_folder if folder else _write_zip)(Path(path), parts)


def _parts(config: Mapping[str, Any], tensors: Mapping[str, np.ndarray], extras: dict[str, Any]
           ) -> dict[str, list[bytes | memoryview]]:
    if not isinstance(config.get("model_type"), str):
        raise UsageError("a model's config must say its model_type")
    config = {**config, "format_version": FORMAT_VERSION, "dlcore_version": __version__}
    extras.setdefault(CARD, f"# {config['model_type']}\n\nA model saved by dlcore {__version__}.\n")
    parts: dict[str, list[bytes | memoryview]] = {CONFIG: [_json(CONFIG, config)], TENSORS: safetensors.pieces(tensors)}
    for name, value in extras.items():
        if not _NAME.fullmatch(name) or name == CONFIG:
            raise UsageError("an extra part of a model file cannot have this name", got=name,
                             expected="letters, digits, - and _, ending in .json, .md or .txt")
        parts[name] = [_json(name, value) if name.endswith(".json") else str(value).encode("utf-8")]
    return parts


def _json(name: str, value: Any) -> bytes:
    try:
        return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8")
    except (TypeError, ValueError) as error:
        raise UsageError("this cannot be saved as JSON", where=name, got=str(error)) from error


def _write_zip(path: Path, parts: Mapping[str, list[bytes | memoryview]]) -> None:
    with all_or_nothing(path, "the model") as temporary:
        with open(temporary, "xb") as file:
            stored_zip.write(file, parts)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)


def _write_folder(path: Path, parts: Mapping[str, list[bytes | memoryview]]) -> None:
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise UsageError("a model folder is never written over", where=str(path),
                         hint="name a folder that is not there")
    with all_or_nothing(path, "the model", _remove_folder) as temporary:
        temporary.mkdir()
        sums = []
        for name, pieces in parts.items():
            digest = hashlib.sha256()
            for piece in pieces:
                digest.update(piece)
            _write_synced(temporary / name, pieces)
            if name != CARD:
                sums.append(f"{digest.hexdigest()}  {name}\n")
        _write_synced(temporary / SUMS, ["".join(sorted(sums, key=lambda line: line[66:])).encode()])
        sync_folder(temporary)
        os.replace(temporary, path)
        sync_folder(path.parent)


def _write_synced(path: Path, pieces: Iterable[bytes | memoryview]) -> None:
    with open(path, "xb") as file:
        file.writelines(pieces)
        file.flush()
        os.fsync(file.fileno())


def _remove_folder(folder: Path) -> None:
    if folder.is_dir():
        for child in folder.iterdir():
            child.unlink()
        folder.rmdir()


# ---- reading ---------------------------------------------------------------------------------------------------------

def read(path: str | os.PathLike[str]) -> ModelFile:
    """Read a model file or folder.  Tensors are read-only and mapped: their bytes are read when they are used.

    Raises `ModelFileError` if it is missing, damaged or anything else, whatever its bytes are.
    """
    path = Path(path)
    try:
        parts = _read_folder(path) if path.is_dir() else _read_zip(path)
    except OSError as error:
        raise ModelFileError("the model file cannot be read", where=str(path),
                             got=error.strerror or str(error)) from error
    except ValueError as error:
        if isinstance(error, ModelFileError):
            raise
        raise ModelFileError("this is no path of a model file", got=repr(str(path))[:200]) from error
    config = parse_json(bytes(parts[CONFIG]), f"{path}, {CONFIG}", _CONFIG_LIMIT)
    _check_config(config, f"{path}, {CONFIG}")
    tensors = safetensors.parse(parts[TENSORS], f"{path}, {TENSORS}")
    extras = {name: _extra(f"{path}, {name}", data) for name, data in parts.items() if name not in (CONFIG, TENSORS)}
    return ModelFile(config, tensors, extras)


def _check_config(config: Any, where: str) -> None:
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise ModelFileError("the config does not say what the model is", where=where,
                             expected="an object with a model_type")
    version = config.get("format_version")
    if type(version) is not int or version != FORMAT_VERSION:
        raise ModelFileError("the model file has a format that this version does not read", where=where,
                             expected=f"format_version {FORMAT_VERSION}", got=str(version)[:40],
                             hint="update dlcore if the file was written by a newer one")


def _extra(where: str, data: memoryview) -> Any:
    if where.endswith(".json"):
        return parse_json(bytes(data), where, _EXTRA_LIMIT)
    if len(data) > _EXTRA_LIMIT:
        raise ModelFileError("a part of the model file is too large", where=where, got=f"{len(data):,} bytes")
    try:
        return bytes(data).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ModelFileError("a part of the model file is not UTF-8 text", where=where, got=str(error)) from None


def _map(file: BinaryIO) -> memoryview:
    size = os.fstat(file.fileno()).st_size
    return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)) if size else memoryview(b"")


def _open(path: Path) -> BinaryIO:
    """Open a regular file; a named pipe or a device is refused instead of waited for."""
    file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))     # noqa: SIM115
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise ModelFileError("this is not a file", where=str(path))
    return file


def _read_zip(path: Path) -> dict[str, memoryview]:
    with _open(path) as file:
        data = _map(file)
        stored_zip.check_digest(file, len(data), str(path))
    parts = stored_zip.read(data, str(path), _PARTS_LIMIT)
    if strange := [name for name in parts if name != TENSORS and not _NAME.fullmatch(name)]:
        raise ModelFileError("the model file has a part that is none of a model's", where=str(path),
                             got=repr(strange[0])[:80])
    if missing := {CONFIG, TENSORS} - set(parts):
        raise ModelFileError("the file is no model: a part is missing", where=str(path),
                             expected=", ".join(sorted(missing)))
    return parts


def _read_folder(path: Path) -> dict[str, memoryview]:
    if missing := [name for name in (CONFIG, TENSORS) if not (path / name).is_file()]:
        raise ModelFileError("the folder holds no model", where=str(path), expected=", ".join(missing))
    names = [CONFIG, TENSORS, *sorted(child.name for child in path.iterdir()
                                      if _NAME.fullmatch(child.name) and child.name != CONFIG and child.is_file())]
    if len(names) > _PARTS_LIMIT:
        raise ModelFileError("the folder holds too many parts for a model", where=str(path), got=str(len(names)))
    sums = _sums(path)
    parts = {}
    for name in names:
        with _open(path / name) as file:
            parts[name] = _map(file)
            if sums is not None and name != CARD:
                _check_sum(file, len(parts[name]), sums.get(name), path / name)
    if sums is not None and (lost := set(sums) - set(names)):
        raise ModelFileError("the folder lacks a part that its digests name", where=str(path), expected=min(lost)[:80])
    return parts


def _sums(path: Path) -> dict[str, str] | None:
    """The digests by name, or None where there are none."""
    if not (path / SUMS).exists():
        warnings.warn(f"{path} has no {SUMS}: its bytes are validated but not verified", stacklevel=5)
        return None
    with _open(path / SUMS) as file:
        text = file.read(1 << 16)
    lines = text.decode("utf-8", "replace").splitlines()
    matches = [re.fullmatch(r"([0-9a-f]{64}) [ *](.{1,255})", line) for line in lines]
    sums = {match[2]: match[1] for match in matches if match}
    if len(sums) != len(lines):
        raise ModelFileError("the digests of the folder are malformed", where=str(path / SUMS),
                             expected="lines of 64 hexadecimal digits, two spaces and a name")
    sums.pop(CARD, None)
    return sums


def _check_sum(file: BinaryIO, size: int, expected: str | None, where: Path) -> None:
    if expected is None:
        raise ModelFileError(f"{SUMS} does not name a part of the folder", where=str(where))
    if stored_zip.hex_digest(file, size) != expected:
        raise ModelFileError("the file is damaged: its bytes do not fit its digest", where=str(where))
