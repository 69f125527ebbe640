"""Which kernel serves a call on a GPU: `kernels_cuda.json`, and the code in `kernels_cuda.bin`, read when first asked for."""
from __future__ import annotations

import json
import os
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from dlcore.errors import DeviceError

BUILD = "pip install '.[cuda-build]' and then: pip wheel --no-build-isolation ."
INDEX, ARCHIVE = "kernels_cuda.json", "kernels_cuda.bin"
COMMON, AVOIDED = "DLCORE_CUDA_COMMON", "DLCORE_CUDA_AVOID"     # lists of kernels, see `is_named`


def is_named(variable: str, kernel: str) -> bool:
    """Is a kernel among those that an environment variable lists, names or patterns of names with commas between?"""
    listed = os.environ.get(variable, "")
    return bool(listed) and any(fnmatchcase(kernel, word.strip()) for word in listed.split(","))


class CudaTable:
    """The CUDA kernels of one folder.

    `arches` they were compiled for, `calls[name]` and `lowerings(name)` as the index has them, `constants`: none on a GPU."""

    level = "cuda"

    def __init__(self, folder: Path):
        self.folder = folder
        self._pieces: dict[int, bytes] = {}
        try:
            self.data: dict[str, Any] = json.loads((folder / INDEX).read_text(encoding="utf-8"))
            self.arches: list[str] = self.data["arches"]
            self.calls: dict[str, dict[str, Any]] = self.data["calls"]
        except FileNotFoundError:
            raise DeviceError("this installation has no CUDA kernels", where=str(folder / INDEX),
                              hint=f"build it where the CUDA tools are: {BUILD}") from None
        except (OSError, ValueError, KeyError) as error:
            raise DeviceError(f"the list of CUDA kernels cannot be read: {error}", where=str(folder / INDEX),
                              hint=BUILD) from error
        self.constants: dict[str, int] = {}

    def lowerings(self, name: str) -> list[dict[str, Any]]:
        """What a call is made of on a GPU, alternatives in order; empty where it has a kernel of its own.  Those with a kernel
        that the environment says to avoid are left out."""
        found = self.data.get("lowerings", {}).get(name, [])
        return [each for each in found if not any(is_named(AVOIDED, step[0]) for step in each["steps"])]

    def has(self, name: str, dtypes: str = "f32") -> bool:
        return dtypes in self.calls.get(name, {}).get("entries", {})

    def entry(self, name: str, dtypes: str = "f32") -> Mapping[str, Any]:
        """An entry: symbol; blocks, block and shared bytes of a launch; reports; places of its code.  Raises DeviceError."""
        if not self.has(name, dtypes):
            raise DeviceError(f"there is no CUDA kernel {name} for {dtypes}", where=str(self.folder), hint=BUILD)
        return self.calls[name]["entries"][dtypes]

    def launch(self, name: str, dtypes: str = "f32", arch: str = "") -> Mapping[str, Any]:
        """How an entry is launched: `blocks`, an expression of the call's sizes, threads of a `block`, bytes of `shared` memory
        that it does not declare; `cluster`: how many blocks run together, where there are several."""
        entry = self.entry(name, dtypes)
        return entry["own_launches"].get(arch, entry)

    def ptx(self, name: str, dtypes: str = "f32", arch: str = "") -> str:
        """The code that all architectures run, or that of one which has its own."""
        entry = self.entry(name, dtypes)
        return self._part(entry, entry.get("own_ptx", {}).get(arch, entry["ptx"])).decode()

    def cubin(self, name: str, dtypes: str, arch: str) -> bytes:
        """The code for an architecture of `arches`."""
        entry = self.entry(name, dtypes)
        return self._part(entry, entry["cubins"][arch])

    def _part(self, entry: Mapping[str, Any], place: list[int]) -> bytes:
        """Some of an entry's code."""
        return self._piece(*entry["piece"])[place[0]:place[0] + place[1]]

    def _piece(self, offset: int, size: int) -> bytes:
        """What the archive has there, unpacked, with the code of many entries: kept, for others will be asked for."""
        import lzma
        if offset not in self._pieces:
            with open(self.folder / ARCHIVE, "rb") as file:
                file.seek(offset)
                packed = file.read(size)
            try:
                self._pieces[offset] = lzma.decompress(packed)
            except lzma.LZMAError as error:
                raise DeviceError("the CUDA kernels are damaged", where=str(self.folder / ARCHIVE), hint=BUILD) from error
        return self._pieces[offset]


def ceil_divide(a: int, b: int) -> int:
    return -(-a // b)


def blocks_of(launch: Mapping[str, Any], step: Any) -> int:
    """How many blocks of threads a step launches."""
    sizes = dict(zip(step.spec.symbols(), step.dims, strict=True))
    return int(eval(launch["blocks"], {"__builtins__": {}, "ceil": ceil_divide}, sizes))


_tables: dict[str, CudaTable] = {}


def cuda_table(folder: str | os.PathLike[str] | None = None) -> CudaTable:
    """The CUDA kernels of the installation, of the folder that `DLCORE_CUDA_KERNELS` names, or of `folder`."""
    key = os.fspath(folder or os.environ.get("DLCORE_CUDA_KERNELS") or Path(__file__).parent)
    if key not in _tables:
        _tables[key] = CudaTable(Path(key).resolve())
    return _tables[key]
