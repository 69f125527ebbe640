"""Embedding on the CPU."""
import numpy as np

from dlcore.compiler.language import kernel

ZERO, NAN = np.float32(0), np.float32(np.nan)


@kernel
def embedding_forward(table, ids, out):
    V, D = table.shape
    for i in range(ids.shape[0]):
        v = ids[i]
        if 0 <= v < V:
            for j in range(D):
                out[i, j] = table[v, j]
        else:
            for j in range(D):
                out[i, j] = NAN


@kernel
def embedding_backward(dout, ids, dtable, begin, add_dtable):
    """Each thread owns rows of the table and looks through all ids: no atomics, one order."""
    V, D = dtable.shape
    if not add_dtable:
        for v in range(V):
            for j in range(D):
                dtable[v, j] = ZERO
    for i in range(ids.shape[0]):
        v = ids[i] - begin
        if 0 <= v < V:
            for j in range(D):
                dtable[v, j] += dout[i, j]
