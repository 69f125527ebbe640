"""Which kernel serves a call on this processor: `kernels.json` and `kernels.so`, read when first asked for."""
from __future__ import annotations

import ctypes
import json
import os
import re
from pathlib import Path
from typing import Any

from dlcore.errors import DeviceError
from dlcore.runtime.program import probe_level, reported_level

X86 = ("v2", "v3", "v4", "v4_bf16")
LEVELS = (*X86, "aarch64")
MEANING = {"v2": "x86-64-v2 (SSE4.2)", "v3": "x86-64-v3 (AVX2, FMA)", "v4": "x86-64-v4 (AVX-512)",
           "v4_bf16": "x86-64-v4 with avx512_bf16 and avx512_vnni", "aarch64": "aarch64 (neoverse-n1)"}
BUILD = "build the kernels with: python -m dlcore.compiler"


def choose_level() -> tuple[str, str]:
    """The CPU level and why it was chosen; raises DeviceError where `DLCORE_CPU_LEVEL` cannot be met."""
    reported, wanted = reported_level(), os.environ.get("DLCORE_CPU_LEVEL", "").strip()
    if not wanted:
        if not reported:
            raise DeviceError("this processor is older than every level that dlcore has kernels for",
                              expected=f"{MEANING['v2']}, or {MEANING['aarch64']}")
        return reported, f"{reported}: the highest level that the processor reports, {MEANING[reported]}"
    if wanted not in LEVELS:
        raise DeviceError("unknown CPU level", where="DLCORE_CPU_LEVEL", expected=", ".join(LEVELS), got=repr(wanted))
    if wanted in X86 and reported in X86 and X86.index(wanted) <= X86.index(reported) or wanted == reported:
        return wanted, f"{wanted}: set by DLCORE_CPU_LEVEL (the processor reports {reported})"
    if probe_level(wanted):
        return wanted, (f"{wanted}: set by DLCORE_CPU_LEVEL; the processor reports {reported or 'less than v2'} only, "
                        f"but instructions of {MEANING[wanted]} were tried and work")
    raise DeviceError(f"this processor lacks the instructions of {MEANING[wanted]}", where="DLCORE_CPU_LEVEL",
                      expected=f"at most {reported or 'none'}", got=wanted, hint="unset DLCORE_CPU_LEVEL")


def cpu_level() -> str:
    """The CPU level that kernels run at: v2, v3, v4, v4_bf16 or aarch64."""
    return choose_level()[0]


class KernelTable:
    """The kernels of one folder at one CPU level.

    `level`, `reason` (a sentence for `dlcore doctor`), `constants` of the level (tile shapes), `calls[name]` and
    `lowerings(name)` as `kernels.json` has them, `entry(name, dtypes)` the address of the C entry.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        try:
            self.data: dict[str, Any] = json.loads((folder / "kernels.json").read_text(encoding="utf-8"))
            order = self.data["order"]
        except (OSError, ValueError, KeyError) as error:
            raise DeviceError(f"the kernel list cannot be read: {error}", where=str(folder / "kernels.json"),
                              hint=BUILD) from error
        wanted, self.reason = choose_level()
        self.below = self._not_above(wanted, order)
        if not self.below:
            raise DeviceError(f"there are no kernels for {MEANING[wanted]}", where=str(folder), expected=wanted,
                              got=", ".join(order), hint=BUILD)
        self.level: str = self.below[0]
        if self.level != wanted:
            self.reason += f"; the kernels were built up to {self.level}"
        self.calls: dict[str, dict[str, Any]] = self.data["calls"]
        self.constants: dict[str, int] = self.data["levels"][self.level]["constants"]
        self._library: ctypes.CDLL | None = None
        self._entries: dict[tuple[str, str], int] = {}
        self._found: dict[tuple[str, str], tuple[str, str] | None] = {}

    @staticmethod
    def _not_above(wanted: str, order: list[str]) -> list[str]:
        """Levels of the library that this processor can run, best first."""
        usable = X86[:X86.index(wanted) + 1] if wanted in X86 else (wanted,)
        return [level for level in reversed(usable) if level in order]

    def lowerings(self, name: str) -> list[dict[str, Any]]:
        """What a call is made of on this device, alternatives in order; empty where it has a kernel of its own."""
        return self.data.get("lowerings", {}).get(name, [])

    def has(self, name: str, dtypes: str = "f32") -> bool:
        """Whether there is an entry at this level or one below."""
        return self._find(name, dtypes) is not None

    def entry(self, name: str, dtypes: str = "f32") -> int:
        """The address of the C entry at this level, or at the next lower one that has it; raises DeviceError."""
        key = name, dtypes
        if key not in self._entries:
            found = self._find(name, dtypes)
            if found is None:
                raise DeviceError(f"there is no kernel {name} for {dtypes}", where=str(self.folder),
                                  expected="an entry at " + " or ".join(self.below), hint=BUILD)
            self._check_constants(name, found[0])
            self._entries[key] = self._address(found[1])
        return self._entries[key]

    def _find(self, name: str, dtypes: str) -> tuple[str, str] | None:
        key = name, dtypes
        if key not in self._found:
            levels = self.calls.get(name, {}).get("entries", {}).get("cpu", {})
            self._found[key] = next(((level, levels[level][dtypes]) for level in self.below if dtypes in levels.get(level, ())),
                                    None)
        return self._found[key]

    def _check_constants(self, name: str, level: str) -> None:
        """A kernel of a lower level lays memory out by that level's constants; they must be those of the plan."""
        theirs = self.data["levels"][level]["constants"]
        words = set(re.findall(r"[A-Z][A-Z_0-9]*", self.calls[name]["spec"] + " " + self.calls[name].get("over", "")))
        for constant in words & {c for c in theirs if theirs[c] != self.constants.get(c)}:
            raise DeviceError(f"the kernel {name} exists for {level} only, where {constant} differs",
                              where=str(self.folder), expected=f"{constant} = {self.constants.get(constant)}",
                              got=str(theirs[constant]), hint=BUILD)

    def _address(self, symbol: str) -> int:
        if self._library is None:
            try:
                self._library = ctypes.CDLL(str(self.folder / "kernels.so"))
            except OSError as error:
                raise DeviceError(f"the kernels cannot be loaded: {error}", where=str(self.folder),
                                  hint=BUILD) from error
        try:
            return ctypes.cast(self._library[symbol], ctypes.c_void_p).value or 0
        except AttributeError as error:
            raise DeviceError(f"the kernel library lacks {symbol}", where=str(self.folder / "kernels.so"),
                              hint=BUILD) from error


HERE = str(Path(__file__).parent)
_tables: dict[tuple[str, str], KernelTable] = {}


def kernel_table(wide: bool = False, folder: str | os.PathLike[str] | None = None) -> KernelTable:
    """The kernels of the installation; `wide`: the f64 ones of the folder `DLCORE_WIDE_KERNELS`; or of `folder`."""
    if folder is None:
        folder = os.environ.get("DLCORE_WIDE_KERNELS", "") if wide else HERE
        if not folder:
            raise DeviceError("the float64 kernels are not part of an installation", where="DLCORE_WIDE_KERNELS",
                              expected="the folder of their kernels.so and kernels.json",
                              hint="DLCORE_BUILD_WIDE=1 python -m dlcore.compiler makes build/wide")
    key = os.fspath(folder), os.environ.get("DLCORE_CPU_LEVEL", "")
    if key not in _tables:
        _tables[key] = KernelTable(Path(folder).resolve())
    return _tables[key]
