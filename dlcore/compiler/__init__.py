"""Build time only: Numba kernels become native objects for every CPU level, and C99 text.

    python -m dlcore.compiler        builds dlcore/runtime/kernels.so and kernels.json

`language` is what a room's `cpu.py` imports.  Nothing here is imported at run time.
"""
