"""Gathering rows on a GPU: a thread for each element."""
from dlcore.compiler.cuda.intrinsics import f32, i32, quotient
from dlcore.compiler.cuda.language import kernel
from dlcore.ops import gather  # noqa: F401  (declares)


@kernel(threads="N * C")
def gather_rows(item, data, ids, scale, shift, out):
    C = out.shape[1]
    i = quotient(item, C)
    j = item - i * C
    out[i, j] = f32(data[ids[i], j]) * scale + shift


@kernel(threads="N * C")
def gather_ids(item, data, ids, out):
    C = out.shape[1]
    i = quotient(item, C)
    j = item - i * C
    out[i, j] = i32(data[ids[i], j])
