# cython: language_level=3
"""Random orders of rows; see permutation.h."""
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t, uintptr_t

import numpy as np

from dlcore.errors import DataError
from dlcore.runtime.buffers import address_of

cdef extern from "permutation.h" nogil:
    void permute(const uint64_t* key, int32_t* out, uint32_t rows)


def permutation(int64_t rows, key):
    """0 .. rows - 1 in random order, i32[rows]: that of `numpy.random.Generator(Philox(key=key)).permutation(rows)`.

    key: u64[2].  DataError for 2^31 rows or more."""
    cdef uint64_t words[2]
    if not 0 <= rows < <int64_t>1 << 31:
        raise DataError("too many rows to put into an order", expected="fewer than 2^31", got=str(rows))
    words[0], words[1] = key
    out = np.empty(rows, np.int32)
    cdef int32_t* into = <int32_t*><uintptr_t>address_of(out)
    with nogil:
        permute(words, into, <uint32_t>rows)
    return out
