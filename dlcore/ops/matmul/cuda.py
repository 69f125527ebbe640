"""Matrix products on a GPU: a block of 256 threads for each tile, of 64 by 64 in float32, of 128 by 128 on tensor cores where the
plan's products are bf16.

Products of few tiles over a long K (gradients of weights) are summed in PARTS that are added in order.
"""
import numpy as np

from dlcore.compiler.cuda.intrinsics import cuda, f32, warp_sum
from dlcore.compiler.cuda.language import kernel, lowered
from dlcore.compiler.language import call, helper
from dlcore.ops import matmul  # noqa: F401  (declares)
from dlcore.ops.matmul import cuda_bf16
from dlcore.ops.matmul.cuda_tiles import SIDE, clear, product_tile, write_activated, write_added

TILES, LARGE = "ceil(M / 64) * ceil(N / 64)", "ceil(M / 128) * ceil(N / 128)"
PARTS = 16
LARGE_SIDE = cuda_bf16.SIDE
ZERO = np.float32(0)


@helper
def by_rows(x, i, k, extra):
    return x[i, k]


@helper
def by_columns(x, i, k, extra):
    return x[k, i]


nn = product_tile(by_rows, True, by_columns, False)
nt = product_tile(by_rows, True, by_rows, True)
tn = product_tile(by_columns, False, by_columns, False)


@helper
def corner(tile, N):
    """The first row and column of a tile."""
    columns = (N + SIDE - 1) // SIDE
    return tile // columns * SIDE, tile % columns * SIDE


@kernel(blocks=TILES)
def matmul_nn(item, thread, a, b, out, add_out):
    acc = cuda.local.array((4, 4), f32)
    clear(acc)
    m0, n0 = corner(item, out.shape[1])
    nn(acc, thread, m0, n0, out.shape[0], out.shape[1], 0, a.shape[1], a, b, 0)
    write_added(acc, thread, m0, n0, out, add_out)


@kernel(blocks=TILES)
def matmul_nt(item, thread, a, b, out, add_out):
    acc = cuda.local.array((4, 4), f32)
    clear(acc)
    m0, n0 = corner(item, out.shape[1])
    nt(acc, thread, m0, n0, out.shape[0], out.shape[1], 0, a.shape[1], a, b, 0)
    write_added(acc, thread, m0, n0, out, add_out)


@kernel(blocks=TILES)
def matmul_tn_whole(item, thread, a, b, out, add_out):
    acc = cuda.local.array((4, 4), f32)
    clear(acc)
    m0, n0 = corner(item, out.shape[1])
    tn(acc, thread, m0, n0, out.shape[0], out.shape[1], 0, a.shape[0], a, b, 0)
    write_added(acc, thread, m0, n0, out, add_out)


@kernel(blocks=f"{PARTS} * {TILES}")
def matmul_tn_parts(item, thread, a, b, parts):
    """Part `item % PARTS` of K, of tile `item // PARTS`."""
    acc = cuda.local.array((4, 4), f32)
    clear(acc)
    (K, M), N, part = a.shape, b.shape[1], item % PARTS
    m0, n0 = corner(item // PARTS, N)
    tn(acc, thread, m0, n0, M, N, K * part // PARTS, K * (part + 1) // PARTS, a, b, 0)
    write_added(acc, thread, m0, n0, parts[part], False)


call("matmul_tn_whole(a: F[K, M], b: F[K, N] -> +out: F[M, N])", over=TILES, flops="2 * M * N * K")
call(f"matmul_tn_parts(a: F[K, M], b: F[K, N] -> parts: F[{PARTS}, M, N])", over=TILES, flops="2 * M * N * K")
call(f"add_product_parts(parts: F[{PARTS}, M, N] -> +out: F[M, N])", over="M", flops=f"{PARTS} * M * N")
lowered("matmul_tn", "matmul_tn_parts(a, b -> parts)", "add_product_parts(parts -> out)",
        when="K >= 1024 and M * N <= 262144")
lowered("matmul_tn", "matmul_tn_whole(a, b -> out)")


@kernel(threads="M * N")
def add_product_parts(item, parts, out, add_out):
    N = out.shape[1]
    m, n = item // N, item % N
    total = parts[0, m, n] + (out[m, n] if add_out else ZERO)
    for p in range(1, PARTS):
        total += parts[p, m, n]
    out[m, n] = total


@kernel(blocks=TILES)
def dense_forward(item, thread, x, weight, bias, activation, parameter, out):
    acc = cuda.local.array((4, 4), f32)
    clear(acc)
    m0, n0 = corner(item, out.shape[1])
    nn(acc, thread, m0, n0, out.shape[0], out.shape[1], 0, x.shape[1], x, weight, 0)
    write_activated(acc, thread, m0, n0, out, bias, out[:0], activation, parameter)


# ---- on tensor cores ---------------------------------------------------------------------------------------------
nn_bf16 = cuda_bf16.bf16_tile(by_rows, True, by_columns, False)
nt_bf16 = cuda_bf16.bf16_tile(by_rows, True, by_rows, True)
tn_bf16 = cuda_bf16.bf16_tile(by_columns, False, by_columns, False)
clear_bf16, added_bf16, activated_bf16 = cuda_bf16.clear, cuda_bf16.write_added, cuda_bf16.write_activated

for form, (a, b) in {"nn": ("M, K", "K, N"), "nt": ("M, K", "N, K"), "tn": ("K, M", "K, N")}.items():
    call(f"matmul_{form}_bf16(a: F[{a}], b: F[{b}] -> +out: F[M, N])", over=LARGE, flops="2 * M * N * K")
    lowered(f"matmul_{form}", f"matmul_{form}_bf16(a, b -> out)", product="bf16")
call("dense_forward_bf16(x: F[M, K], weight: f32[K, N], bias: f32[N]?, activation: i64, parameter: f32 -> out: F[M, N])",
     over=LARGE, flops="2 * M * N * K")
lowered("dense_forward", "dense_forward_bf16(x, weight, bias, activation, parameter -> out)", product="bf16")


@helper
def large_corner(tile, N):
    columns = (N + LARGE_SIDE - 1) // LARGE_SIDE
    return tile // columns * LARGE_SIDE, tile % columns * LARGE_SIDE


@kernel(blocks=LARGE)
def matmul_nn_bf16(item, thread, a, b, out, add_out):
    acc = cuda.local.array((4, 4, 4), f32)
    clear_bf16(acc)
    m0, n0 = large_corner(item, out.shape[1])
    nn_bf16(acc, thread, m0, n0, out.shape[0], out.shape[1], 0, a.shape[1], a, b, 0)
    added_bf16(acc, thread, m0, n0, out, add_out)


@kernel(blocks=LARGE)
def matmul_nt_bf16(item, thread, a, b, out, add_out):
    acc = cuda.local.array((4, 4, 4), f32)
    clear_bf16(acc)
    m0, n0 = large_corner(item, out.shape[1])
    nt_bf16(acc, thread, m0, n0, out.shape[0], out.shape[1], 0, a.shape[1], a, b, 0)
    added_bf16(acc, thread, m0, n0, out, add_out)


@kernel(blocks=LARGE)
def matmul_tn_bf16(item, thread, a, b, out, add_out):
    acc = cuda.local.array((4, 4, 4), f32)
    clear_bf16(acc)
    m0, n0 = large_corner(item, out.shape[1])
    tn_bf16(acc, thread, m0, n0, out.shape[0], out.shape[1], 0, a.shape[0], a, b, 0)
    added_bf16(acc, thread, m0, n0, out, add_out)


@kernel(blocks=LARGE)
def dense_forward_bf16(item, thread, x, weight, bias, activation, parameter, out):
    acc = cuda.local.array((4, 4, 4), f32)
    clear_bf16(acc)
    m0, n0 = large_corner(item, out.shape[1])
    nn_bf16(acc, thread, m0, n0, out.shape[0], out.shape[1], 0, x.shape[1], x, weight, 0)
    activated_bf16(acc, thread, m0, n0, out, bias, out[:0], activation, parameter)


@kernel(warps="N")
def dense_sample_norms(item, lane, x, dout, biased, norms2, add_norms2):
    """|x|**2 |dout|**2, and |dout|**2 more with a bias."""
    of_x, of_dout = ZERO, ZERO
    for j in range(lane, x.shape[1], 32):
        of_x += x[item, j] * x[item, j]
    for j in range(lane, dout.shape[1], 32):
        of_dout += dout[item, j] * dout[item, j]
    of_x, of_dout = warp_sum(of_x), warp_sum(of_dout)
    if lane == 0:
        value = of_dout * (of_x + (np.float32(1) if biased > 0 else ZERO))
        norms2[item] = value + (norms2[item] if add_norms2 else ZERO)
