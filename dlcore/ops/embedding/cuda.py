"""Embedding on a GPU.

The gradient: a warp for each row of the table, which looks through all ids side by side, so that a row's contributions are added in
the order of the ids, without atomics.
"""
import numpy as np

from dlcore.compiler.cuda.intrinsics import cuda, quotient
from dlcore.compiler.cuda.language import kernel
from dlcore.ops import embedding  # noqa: F401  (declares)

ZERO, NAN = np.float32(0), np.float32(np.nan)


@kernel(threads="N * D")
def embedding_forward(item, table, ids, out):
    V, D = table.shape
    i = quotient(item, D)
    j = item - i * D
    v = ids[i]
    out[i, j] = table[v, j] if 0 <= v < V else NAN


@kernel(warps="V")
def embedding_backward(item, lane, dout, ids, dtable, add_dtable):
    """32 ids at a time: a ballot tells which of them are this row's."""
    D, N = dtable.shape[1], ids.shape[0]
    if not add_dtable:
        for j in range(lane, D, 32):
            dtable[item, j] = ZERO
    for start in range(0, N, 32):
        n = start + lane
        mine = cuda.ballot_sync(0xFFFFFFFF, n < N and ids[n if n < N else start] == item)
        for bit in range(32):
            if (mine >> bit) & 1:
                for j in range(lane, D, 32):
                    dtable[item, j] += dout[start + bit, j]
