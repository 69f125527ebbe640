"""Build time only: kernels of the rooms' `cuda.py` -> PTX -> cubins.

    language.py     what a `cuda.py` is written in: each, kernel, lowered
    intrinsics.py   what its kernels call: threads, shuffles, shared memory, one-instruction PTX       (contact with numba-cuda)
    vectors.py      16 bytes at a time, copies beside the threads                                      (contact with numba-cuda)
    entry.py        the text of the function that becomes the kernel's entry: its parameters, its item, its arrays
    toolkit.py      that function -> PTX, PTX -> cubin                                                 (contact with numba-cuda)
    build.py        which kernels are missing, workers that make them, the archive and its index

Nothing here needs a GPU or its driver.  Where the tools (`pip install '.[cuda-build]'`) are missing, the package is built for the
CPU only, and `dlcore doctor` says so.
"""
