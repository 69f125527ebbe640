"""Lists packages and extensions, and has the kernels built; everything else is in pyproject.toml."""

import os
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

HERE = Path(__file__).resolve().parent
KERNELS = [Path("dlcore/runtime") / name for name in ("kernels.so", "kernels.json", "kernels_c99.json")]
CUDA_KERNELS = [Path("dlcore/runtime") / name for name in ("kernels_cuda.json", "kernels_cuda.bin")]


def sources():
    """Modules that Cython compiles: .pyx, and .py with a .pxd beside it.  Relative to this file, as setuptools wants
    them."""
    typed = [p.with_suffix(".py") for p in (HERE / "dlcore").rglob("*.pxd")]
    return sorted(p.relative_to(HERE) for p in [*(HERE / "dlcore").rglob("*.pyx"), *typed] if p.exists())


def extension(path):
    headers = sorted(str(p.relative_to(HERE)) for p in (HERE / path).parent.glob("*.h"))
    return Extension(
        str(path.with_suffix("")).replace("/", "."),
        [str(path)],
        depends=headers,
        include_dirs=[str(HERE / path.parent)],
        extra_compile_args=["-O2", "-g0", "-pthread"],
        extra_link_args=["-pthread", "-Wl,-s"],
    )


class Build(build_ext):
    """Compiles the kernels, those for CUDA too where its tools are, then the extensions."""

    built = KERNELS

    def finalize_options(self):
        from Cython.Build import cythonize

        self.distribution.ext_modules = cythonize(
            self.distribution.ext_modules, build_dir="build/cython", language_level=3
        )
        super().finalize_options()
        self.parallel = self.parallel or len(os.sched_getaffinity(0))

    def run(self):
        sys.path.insert(0, str(HERE))
        from dlcore.compiler.__main__ import main

        failed = main([])
        if not failed and self.cuda():
            self.built = KERNELS + CUDA_KERNELS
        super().run()
        if failed:
            raise SystemExit("kernels are missing, see above")
        if not self.inplace:
            for path in self.built:
                self.mkpath(os.path.join(self.build_lib, path.parent))
                self.copy_file(str(path), os.path.join(self.build_lib, path))

    def cuda(self):
        """Whether there are CUDA kernels to install; SystemExit where they cannot be built."""
        from dlcore.compiler.cuda import toolkit

        if reason := toolkit.missing():
            print(f"built for the CPU only: {reason}")
            return False
        # a process of its own: formulas are compiled for one device in each
        if subprocess.call([sys.executable, "-m", "dlcore.compiler.cuda"], cwd=HERE):
            raise SystemExit("CUDA kernels are missing, see above")
        return True

    def get_outputs(self):
        return super().get_outputs() + (
            [] if self.inplace else [os.path.join(self.build_lib, path) for path in self.built]
        )


setup(
    packages=find_packages(include=["dlcore", "dlcore.*"])
    + ["dlcore.cli"]
    + [f"dlcore.cli.{p}" for p in find_packages("cli")],
    ext_modules=[extension(path) for path in sources()],
    cmdclass={"build_ext": Build},
)
