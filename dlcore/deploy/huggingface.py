"""Folders as Hugging Face's libraries write them, read and written without these: `config.json` and `model.safetensors`, whole or
in shards that `model.safetensors.index.json` lists.  Pickled weights are refused: reading them would run what is in them.
"""
from __future__ import annotations

import json
import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dlcore.deploy import safetensors
from dlcore.deploy.strict_json import parse_json
from dlcore.errors import ModelFileError, UsageError, WriteError

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "pytorch_model.bin.index.json")
FOREIGN = ("*.h5", "*.msgpack", "*.onnx", "*.gguf")
_JSON_LIMIT = 64 << 20


@dataclass(frozen=True)
class Folder:
    """config: what config.json holds;  tensors: name -> array, read-only and mapped where that can be;  where: its path."""

    config: Mapping[str, Any]
    tensors: Mapping[str, np.ndarray]
    where: str


def is_folder(path: str | Path) -> bool:
    """Whether this is a folder of Hugging Face's kind, and not a model folder of dlcore."""
    place = Path(path)
    return (place / CONFIG).is_file() and not (place / "SHA256SUMS").exists()


def read(path: str | Path) -> Folder:
    """ModelFileError: no folder, no config.json, weights that are missing, damaged, pickled or another framework's."""
    place = Path(path)
    if not place.is_dir():
        raise ModelFileError("there is no such folder", where=str(place))
    config = read_json(place / CONFIG)
    if not isinstance(config, dict):
        raise ModelFileError("the configuration is no object", where=str(place / CONFIG))
    return Folder(config, tensors_of(place), str(place))


def read_json(path: Path) -> Any:
    """What a JSON file holds.   ModelFileError"""
    try:
        return parse_json(path.read_bytes(), str(path), _JSON_LIMIT)
    except OSError as error:
        raise ModelFileError("a file of the model is missing", where=str(path), got=error.strerror or str(error),
                             hint=f"a folder has {CONFIG} and {WEIGHTS}") from None


def tensors_of(place: Path) -> dict[str, np.ndarray]:
    """All tensors of a folder by name."""
    if (place / INDEX).is_file():
        return shards(place)
    if (place / WEIGHTS).is_file():
        return mapped(place / WEIGHTS)
    for patterns, message, hint in (
            (PICKLED, "the weights are pickled, and were not read: reading them could run a program that is hidden in them",
             "save them as safetensors where they come from: model.save_pretrained(folder, safe_serialization=True)"),
            (FOREIGN, "the weights are in a format that is not read here", f"convert them to {WEIGHTS}")):
        found = sorted({file.name for pattern in patterns for file in place.glob(pattern)})
        if found:
            raise ModelFileError(message, where=str(place), expected=WEIGHTS, got=", ".join(found[:4]), hint=hint)
    raise ModelFileError("the folder has no weights", where=str(place), expected=f"{WEIGHTS}, or {INDEX} and its shards",
                         got=", ".join(sorted(file.name for file in place.iterdir())[:8]))


def shards(place: Path) -> dict[str, np.ndarray]:
    """The tensors that the index names, out of its files."""
    where, index = str(place / INDEX), read_json(place / INDEX)
    names = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(names, dict) or not all(isinstance(f, str) and Path(f).name == f for f in names.values()):
        raise ModelFileError("the index of the weights is malformed", where=where, expected="weight_map: {tensor: file}")
    if missing := sorted({f for f in names.values() if not (place / f).is_file()}):
        raise ModelFileError("shards of the weights are missing", where=str(place), got=", ".join(missing[:6]))
    found: dict[str, np.ndarray] = {}
    for file in sorted(set(names.values())):
        if not file.endswith(".safetensors"):
            raise ModelFileError("a shard is no safetensors file, and was not read", where=where, got=file)
        found |= mapped(place / file)
    if lost := [n for n in names if n not in found]:
        raise ModelFileError("the shards lack tensors that the index names", where=where, got=", ".join(lost[:6]))
    return found


def mapped(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a file; their memory is the file's."""
    try:
        with open(path, "rb") as file:
            if path.stat().st_size < 8:
                raise ModelFileError("the tensor file is cut short", where=str(path), got=f"{path.stat().st_size} bytes")
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except OSError as error:
        raise ModelFileError("the weights cannot be read", where=str(path), got=error.strerror or str(error)) from None
    return safetensors.parse(data, str(path))


def write(path: str | Path, files: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> None:
    """A new folder: JSON files by name (with their sub-folders) and the weights.  UsageError where it exists, WriteError;
    what could not be written whole is removed."""
    import os
    import shutil

    from dlcore.deploy.atomic import all_or_nothing, sync_folder
    place = Path(path)
    if place.exists():
        raise UsageError("the output exists; nothing was written over", where=str(place),
                         hint="remove it first, or choose another -o")
    if not place.parent.is_dir():
        raise WriteError("there is no such folder", where=str(place.parent))
    with all_or_nothing(place, "the folder", remove=lambda p: shutil.rmtree(p, ignore_errors=True)) as work:
        work.mkdir()
        for name, value in files.items():
            (work / name).parent.mkdir(exist_ok=True)
            (work / name).write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
        with open(work / WEIGHTS, "xb") as file:
            for piece in safetensors.pieces(tensors, {"format": "pt"}, aligned=False):
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        os.rename(work, place)
        sync_folder(place.parent)
