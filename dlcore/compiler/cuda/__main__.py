"""python -m dlcore.compiler.cuda [--rooms MODULES] [--output DIR] [--cache DIR] [--jobs N]"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from dlcore.compiler.build import ROOT
from dlcore.compiler.cuda import toolkit
from dlcore.compiler.cuda.build import CudaBuild
from dlcore.compiler.rooms import PACKAGE
from dlcore.errors import DlcoreError


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m dlcore.compiler.cuda", description="Builds kernels_cuda.json and .bin.")
    parser.add_argument("--rooms", default="", help="modules with kernels, instead of all rooms of dlcore")
    parser.add_argument("--output", type=Path, default=PACKAGE / "runtime")
    parser.add_argument("--cache", type=Path, default=ROOT / "build" / "kernels")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args(arguments)
    if lacking := toolkit.missing():
        print(f"no CUDA kernels: {lacking}; pip install '.[cuda-build]' brings the tools", file=sys.stderr)
        return 1
    modules = options.rooms.split(",") if options.rooms else None
    try:
        CudaBuild(options.output, options.jobs, options.cache, modules).run()
    except DlcoreError as e:
        print(e, file=sys.stderr)
        return e.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
