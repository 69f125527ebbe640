"""python -m dlcore.compiler [--levels v3,v4] [--wide] [--jobs N] [--output DIR] [--cache DIR] [--rooms MODULES]"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from dlcore.compiler import levels
from dlcore.compiler.build import PACKAGE, ROOT, Build
from dlcore.errors import DlcoreError, UsageError


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m dlcore.compiler", description="Builds kernels.so and kernels.json."
    )
    parser.add_argument("--levels", default="", help=f"of {', '.join(levels.LEVELS)}; default: all of this machine's")
    parser.add_argument("--wide", action="store_true", help="also build/wide, where f32 is f64 (DLCORE_BUILD_WIDE=1)")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="compiler processes at a time")
    parser.add_argument("--output", type=Path, help="default: dlcore/runtime, or build/ARCH for another architecture")
    parser.add_argument("--cache", type=Path, default=ROOT / "build" / "kernels", help="where objects are kept")
    parser.add_argument("--rooms", default="", help="modules with kernels, instead of all rooms of dlcore")
    options = parser.parse_args(arguments)
    wide = options.wide or os.environ.get("DLCORE_BUILD_WIDE") == "1"
    try:
        build(
            select(options.levels),
            wide,
            options.jobs,
            options.output,
            options.cache,
            options.rooms.split(",") if options.rooms else None,
        )
    except DlcoreError as e:
        print(e, file=sys.stderr)
        return e.exit_code
    return 0


def build(
    chosen: list[levels.Level], wide: bool, workers: int, output: Path | None, cache: Path, modules: list[str] | None
) -> None:
    """Builds the kernels of rooms, and their wide variants: beside `output`, or in build/wide.  Raises CompileError."""
    foreign = chosen[0].arch != levels.host_arch()
    folder = output or (ROOT / "build" / chosen[0].arch if foreign else PACKAGE / "runtime")
    Build(chosen, folder, workers=workers, cache=cache, modules=modules).run()
    if wide:
        Build(
            chosen,
            output / "wide" if output else ROOT / "build" / "wide",
            wide=True,
            workers=workers,
            cache=cache,
            modules=modules,
        ).run()


def select(names: str) -> list[levels.Level]:
    """Levels by their names, lowest first; all of this machine's without names."""
    if not names:
        return levels.levels_of(levels.host_arch())
    wanted = names.split(",")
    if unknown := [n for n in wanted if n not in levels.LEVELS]:
        raise UsageError(f"no level {unknown[0]!r}", expected=", ".join(levels.LEVELS))
    chosen = [level for level in levels.LEVELS.values() if level.name in wanted]
    if len({level.arch for level in chosen}) > 1:
        raise UsageError("levels of two architectures", got=names, hint="build one architecture at a time")
    return chosen


if __name__ == "__main__":
    sys.exit(main())
