"""The CPU levels that kernels are compiled for, and the constants that kernels may read of them.

A process works for one level: the build starts its workers with `DLCORE_COMPILE_LEVEL` (and `DLCORE_COMPILE_WIDE`) set,
and the constants that rooms read while they are imported are those of that level.  Elsewhere (the build's driver,
tests) it is "c99".
"""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, field

LEVEL_VARIABLE, WIDE_VARIABLE = "DLCORE_COMPILE_LEVEL", "DLCORE_COMPILE_WIDE"


@dataclass(frozen=True)
class Level:
    """One target of the compiler.

    cpu, features: LLVM's names.  constants: PANEL columns of a packed panel, TILE rows of a register tile, LANES
    float32 lanes of a vector register; sizes of a spec and `constant(...)` in kernels.  special: only kernels that name
    this level in `kernel(levels=...)` are compiled for it, the others run their code of the next lower level."""

    name: str
    arch: str
    cpu: str
    features: str = ""
    special: bool = False
    constants: dict[str, int] = field(default_factory=dict)

    @property
    def triple(self) -> str:
        return f"{self.arch}-unknown-linux-gnu"


def _level(name: str, arch: str, cpu: str, panel: int, tile: int, lanes: int, **more: object) -> Level:
    return Level(name, arch, cpu, constants={"PANEL": panel, "TILE": tile, "LANES": lanes}, **more)  # type: ignore[arg-type]


# In rising order within an architecture.  Tiles: TILE * PANEL / LANES accumulators and PANEL / LANES rows of the panel
# stay in the 16 (v2, v3) or 32 (v4, aarch64) vector registers.  LLVM thinks of v4 as of the first processors that had it,
# which slowed down when they used all 512 bits; without `prefer-256-bit` loops of exp and gelu are 1.7 to 1.9 times faster.
V4_FEATURES = "-prefer-256-bit,+prfchw"
LEVELS = {
    level.name: level
    for level in (
        _level("v2", "x86_64", "x86-64-v2", 8, 4, 4),
        _level("v3", "x86_64", "x86-64-v3", 16, 6, 8, features="+prfchw"),
        _level("v4", "x86_64", "x86-64-v4", 32, 12, 16, features=V4_FEATURES),
        _level("v4_bf16", "x86_64", "x86-64-v4", 32, 12, 16, features=V4_FEATURES + ",+avx512bf16,+avx512vnni", special=True),
        _level("aarch64", "aarch64", "neoverse-n1", 12, 8, 4),
    )
}
# The level that kernels are translated to C for: no vectors, small tiles.
C99 = _level("c99", "", "", 8, 4, 4)


def host_arch() -> str:
    """The architecture of this machine as levels name it."""
    return {"AMD64": "x86_64", "arm64": "aarch64"}.get(platform.machine(), platform.machine())


def levels_of(arch: str) -> list[Level]:
    """The levels of an architecture, lowest first."""
    return [level for level in LEVELS.values() if level.arch == arch]


def current() -> Level:
    """The level that this process works for."""
    name = os.environ.get(LEVEL_VARIABLE, "")
    return LEVELS[name] if name else C99


def wide() -> bool:
    """Does this process compile the wide variants, in which f32 is read as f64?"""
    return os.environ.get(WIDE_VARIABLE, "") == "1"


def environment(level: Level, is_wide: bool) -> dict[str, str]:
    """What a worker's environment must hold, before Numba is imported, for its objects to be the same wherever they are
    built.

    Numba compiles every helper that a kernel calls for the build machine's CPU first, unless NUMBA_CPU_NAME and
    NUMBA_CPU_FEATURES name another; Numba's other settings in the caller's shell are dropped.  Helpers stay as they are:
    a kernel is optimised once, with its helpers in it."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("NUMBA_")}
    return kept | {
        LEVEL_VARIABLE: level.name,
        WIDE_VARIABLE: "1" if is_wide else "",
        "PYTHONHASHSEED": "0",
        "NUMBA_CPU_NAME": level.cpu,
        "NUMBA_CPU_FEATURES": level.features,
        "NUMBA_OPT": "0",
        "NUMBA_DISABLE_INTEL_SVML": "1",
        "NUMBA_CACHE_DIR": os.devnull,
    }
