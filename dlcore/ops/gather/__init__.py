"""Rows of a data set that lies in memory, picked by number: how a batch is made inside the program.

    out[n] = data[ids[n]] * scale + shift          (float)          out[n] = data[ids[n]]          (integer)

so that a step's only input is the row numbers, and images stay bytes until they are used.  Data is not differentiated.
"""
from __future__ import annotations

from dlcore.graph import call, op

gather_rows = call("gather_rows(data: G[R, C], ids: i32[N], scale: f32, shift: f32 -> out: F[N, C])",
                   over="N", flops="2 * N * C", G=("f32", "u8", "i32", "i64"))
gather_ids = call("gather_ids(data: G[R, C], ids: i32[N] -> out: i32[N, C])", over="N", G=("u8", "i32", "i64"))


@op
def gather(data, ids, scale=None, shift=None):
    """Rows `ids` of `data`; the caller has checked that they are in 0 .. R - 1.

    data     f32, u8, i32 or i64 [R, ...]
    ids      i32[N]
    scale, shift   numbers; giving one of them makes the result float whatever data is
    returns  [N, ...], f32, or i32 for integer data without scale and shift
    """
    rows = data.reshape(data.shape[0], data.size // data.shape[0])
    if data.dtype in ("u8", "i32", "i64") and scale is None and shift is None:
        out = gather_ids(rows, ids)
    else:
        out = gather_rows(rows, ids, 1.0 if scale is None else scale, 0.0 if shift is None else shift)
    return out.reshape(ids.shape[0], *data.shape[1:]), None
