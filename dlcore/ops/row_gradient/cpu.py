"""Gradients held as rows, on the CPU."""
import numpy as np

from dlcore.compiler.language import kernel

ZERO = np.float32(0)


@kernel
def sort_ids(ids, limit, order, unique, first, count, other, tally):
    """Positions by id, equal ids in the order of their positions: a radix sort by bytes.  What is no id sorts as `limit`, behind
    all others, and is not counted."""
    M = ids.shape[0]
    for i in range(M):
        order[i] = i
    shift = 0
    while limit >> shift > 0:
        for digit in range(257):
            tally[digit] = 0
        for i in range(M):
            key = np.int64(ids[i]) if 0 <= ids[i] < limit else limit
            tally[((key >> shift) & 255) + 1] += 1
        for digit in range(256):
            tally[digit + 1] += tally[digit]
        for i in range(M):
            position = order[i]
            key = np.int64(ids[position]) if 0 <= ids[position] < limit else limit
            digit = (key >> shift) & 255
            other[tally[digit]] = position
            tally[digit] += 1
        for i in range(M):
            order[i] = other[i]
        shift += 8
    found, ends = 0, 0
    for i in range(M):
        v = ids[order[i]]
        unique[i] = -1
        if 0 <= v < limit:
            ends = i + 1
            if found == 0 or unique[found - 1] != v:
                unique[found] = v
                first[found] = i
                found += 1
    for i in range(found, M + 1):
        first[i] = ends
    count[0] = found


@kernel
def sum_rows(dout, order, first, count, rows, begin):
    D = rows.shape[1]
    for n in range(rows.shape[0]):
        for j in range(D):
            rows[n, j] = ZERO
        if begin + n < count[0]:
            for i in range(first[begin + n], first[begin + n + 1]):
                position = order[i]
                for j in range(D):
                    rows[n, j] += dout[position, j]
