"""Gathering rows on the CPU."""
from dlcore.compiler.language import kernel


@kernel
def gather_rows(data, ids, scale, shift, out):
    for i in range(ids.shape[0]):
        r = ids[i]
        for j in range(out.shape[1]):
            out[i, j] = data[r, j]          # the store converts: an integer times a float32 would be a float64
            out[i, j] = out[i, j] * scale + shift


@kernel
def gather_ids(data, ids, out):
    for i in range(ids.shape[0]):
        r = ids[i]
        for j in range(out.shape[1]):
            out[i, j] = data[r, j]
