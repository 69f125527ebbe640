"""Matrix products on a GPU, and what a call of one is made of, by its size: in float32 tiles of 16 by 16 to 64 by 64 (`cuda_small`)
or 128 by 128; on tensor cores where the plan's products are bf16, in tiles of 32 by 32 (`cuda_small`), 128 by 128 or, on Hopper,
192 by 256.

Products of few tiles over a long K (gradients of weights) are summed in PARTS that are added in order.
"""
import numpy as np

from dlcore.compiler.cuda.intrinsics import cuda, f32, u64, warp_sum
from dlcore.compiler.cuda.language import kernel, lowered
from dlcore.compiler.cuda.vectors import address_of, load_4, store_4
from dlcore.compiler.language import call, helper
from dlcore.ops import matmul  # noqa: F401  (declares)
from dlcore.ops.matmul import cuda_bf16, cuda_blocks, cuda_large, cuda_panels, cuda_stages, cuda_tf32, cuda_wgmma
from dlcore.ops.matmul.cuda_small import MIDDLE, PARTS, SMALL, WIDE

LARGE = "ceil(M / 128) * ceil(N / 128)"
ZERO = np.float32(0)

call(f"add_product_parts(parts: F[{PARTS}, M, N] -> +out: F[M, N])", over="M", flops=f"{PARTS} * M * N")
lowered("matmul_tn", "matmul_tn_parts(a, b -> parts)", "add_product_parts(parts -> out)",
        when="K >= 4096 and M * N <= 65536")
for form, (a, b) in {"nn": ("M, K", "K, N"), "nt": ("M, K", "N, K"), "tn": ("K, M", "K, N")}.items():
    call(f"matmul_{form}_large(a: F[{a}], b: F[{b}] -> +out: F[M, N])", over=LARGE, flops="2 * M * N * K")
call("dense_forward_large(x: F[M, K], weight: f32[K, N], bias: f32[N]?, activation: i64, parameter: f32 -> out: F[M, N])",
     over=LARGE, flops="2 * M * N * K")
for size, when in (("large", WIDE), ("middle", MIDDLE), ("small", SMALL)):
    for form in ("nn", "nt", "tn"):
        lowered(f"matmul_{form}", f"matmul_{form}_{size}(a, b -> out)", when=when)
    lowered("dense_forward", f"dense_forward_{size}(x, weight, bias, activation, parameter -> out)", when=when)
lowered("matmul_tn", "matmul_tn_whole(a, b -> out)")


@helper
def add_parts(item, count, parts, out, add):
    """Four neighbours of `count` results, summed in the order of the parts."""
    size, source, target = out.shape[0] * out.shape[1], address_of(parts), address_of(out)
    step, at = u64(4) * u64(size), u64(16) * u64(item)
    if size & 3 == 0 and (source | target) & u64(15) == u64(0):
        t = load_4(source + at)
        if add:
            x = load_4(target + at)
            t = (t[0] + x[0], t[1] + x[1], t[2] + x[2], t[3] + x[3])
        for p in range(1, count):
            x = load_4(source + at + step * u64(p))
            t = (t[0] + x[0], t[1] + x[1], t[2] + x[2], t[3] + x[3])
        store_4(target + at, t[0], t[1], t[2], t[3])
    else:
        N = out.shape[1]
        for i in range(4 * item, min(4 * item + 4, size)):
            m, n = i // N, i % N
            total = parts[0, m, n] + (out[m, n] if add else ZERO)
            for p in range(1, count):
                total += parts[p, m, n]
            out[m, n] = total


@kernel(threads="ceil(M * N / 4)")
def add_product_parts(item, parts, out, add_out):
    add_parts(item, PARTS, parts, out, add_out)


# ---- large ones in float32 ---------------------------------------------------------------------------------------
nn_large, nt_large = cuda_large.large_tile(True, False), cuda_large.large_tile(True, True)
tn_large, clear_large = cuda_large.large_tile(False, False), cuda_large.clear
added_large, activated_large, panel_corner = cuda_large.write_added, cuda_large.write_activated, cuda_stages.corner


@kernel(blocks=LARGE)
def matmul_nn_large(item, thread, a, b, out, add_out):
    acc = cuda.local.array((8, 8), f32)
    clear_large(acc)
    m0, n0 = panel_corner(item, out.shape[0], out.shape[1])
    nn_large(acc, thread, m0, n0, a.shape[1], a, b)
    added_large(acc, thread, m0, n0, out, add_out)


@kernel(blocks=LARGE)
def matmul_nt_large(item, thread, a, b, out, add_out):
    acc = cuda.local.array((8, 8), f32)
    clear_large(acc)
    m0, n0 = panel_corner(item, out.shape[0], out.shape[1])
    nt_large(acc, thread, m0, n0, a.shape[1], a, b)
    added_large(acc, thread, m0, n0, out, add_out)


@kernel(blocks=LARGE)
def matmul_tn_large(item, thread, a, b, out, add_out):
    acc = cuda.local.array((8, 8), f32)
    clear_large(acc)
    m0, n0 = panel_corner(item, out.shape[0], out.shape[1])
    tn_large(acc, thread, m0, n0, a.shape[0], a, b)
    added_large(acc, thread, m0, n0, out, add_out)


@kernel(blocks=LARGE)
def dense_forward_large(item, thread, x, weight, bias, activation, parameter, out):
    acc = cuda.local.array((8, 8), f32)
    clear_large(acc)
    m0, n0 = panel_corner(item, out.shape[0], out.shape[1])
    nn_large(acc, thread, m0, n0, x.shape[1], x, weight)
    activated_large(acc, thread, m0, n0, out, bias, activation, parameter)


# ---- on tensor cores ---------------------------------------------------------------------------------------------
clear_bf16, added_bf16, activated_bf16 = cuda_bf16.clear, cuda_bf16.write_added, cuda_bf16.write_activated

# Large products read operands in blocks that were rounded once, see cuda_blocks; `tn` ones of few tiles are summed in PANEL_PARTS.
# The size of a block's row of K is KC blocks of 64 where rows run along K, KR blocks of 128 where they run across it.
PANEL_PARTS = 8
# enough tiles of 128 by 128, or of a K along which they are worth their start
MANY = "M * N * K >= 33554432 and (M * N >= 786432 or K >= 2048)"
ROW_BLOCKS, COLUMN_BLOCKS = {n: f"ceil({n} / 128)" for n in "MN"}, {n: f"ceil({n} / 64)" for n in "MN"}
BLOCKS = {"nn": (f"{ROW_BLOCKS['M']}, KC, 8192", f"KR, {COLUMN_BLOCKS['N']}, 8192"),
          "nt": (f"{ROW_BLOCKS['M']}, KC, 8192", f"{ROW_BLOCKS['N']}, KC, 8192"),
          "tn": (f"KR, {COLUMN_BLOCKS['M']}, 8192", f"KR, {COLUMN_BLOCKS['N']}, 8192")}
OF_BLOCKS = {"nn": "2 * M * N * 64 * KC", "nt": "2 * M * N * 64 * KC", "tn": "2 * M * N * 128 * KR"}
call("round_to_bf16(x: F[R, C] -> out: bf16[R, ceil(C / 8) * 8])", over="R", flops="R * C")
call("round_to_blocks(x: F[R, C] -> out: bf16[ceil(R / 128), ceil(C / 64), 8192])", over="R", flops="R * C")
for form, (a, b) in BLOCKS.items():
    call(f"multiply_bf16_{form}(a: bf16[{a}], b: bf16[{b}] -> +out: F[M, N])", over=LARGE, flops=OF_BLOCKS[form])
call(f"multiply_bf16_parts(a: bf16[{BLOCKS['tn'][0]}], b: bf16[{BLOCKS['tn'][1]}] -> parts: F[{PANEL_PARTS}, M, N])", over=LARGE,
     flops=OF_BLOCKS["tn"])
call(f"add_panel_parts(parts: F[{PANEL_PARTS}, M, N] -> +out: F[M, N])", over="M", flops=f"{PANEL_PARTS} * M * N")
call(f"multiply_bf16_dense(x: bf16[{BLOCKS['nn'][0]}], weight: bf16[{BLOCKS['nn'][1]}], bias: f32[N]?, activation: i64,"
     " parameter: f32 -> out: F[M, N])", over=LARGE, flops=OF_BLOCKS["nn"])
ROUND = "round_to_blocks(a -> a_rounded)", "round_to_blocks(b -> b_rounded)"
lowered("matmul_tn", "matmul_tn_parts_bf16(a, b -> parts)", "add_product_parts(parts -> out)",
        when="K >= 2048 and M * N <= 65536", product="bf16")
lowered("matmul_tn", *ROUND, "multiply_bf16_parts(a_rounded, b_rounded -> parts)", "add_panel_parts(parts -> out)",
        when=f"{MANY} and K >= 4096 and M * N <= 4194304", product="bf16")
for form in BLOCKS:
    lowered(f"matmul_{form}", *ROUND, f"multiply_bf16_{form}(a_rounded, b_rounded -> out)", when=MANY, product="bf16")
lowered("dense_forward", "round_to_blocks(x -> x_rounded)", "round_to_blocks(weight -> weight_rounded)",
        "multiply_bf16_dense(x_rounded, weight_rounded, bias, activation, parameter -> out)", when=MANY, product="bf16")

for form in BLOCKS:
    lowered(f"matmul_{form}", f"matmul_{form}_bf16(a, b -> out)", product="bf16")
lowered("dense_forward", "dense_forward_bf16(x, weight, bias, activation, parameter -> out)", product="bf16")

blocks_nn, blocks_nt = cuda_blocks.blocked_tile(True, False), cuda_blocks.blocked_tile(True, True)
blocks_tn, rounded_blocks, rounded = cuda_blocks.blocked_tile(False, False), cuda_blocks.to_blocks, cuda_panels.to_bf16


@kernel(threads="R * ceil(C / 8)")
def round_to_bf16(item, x, out):
    rounded(item, x, x.shape[1], 0, out)


@kernel(threads="1024 * ceil(R / 128) * ceil(C / 64)")
def round_to_blocks(item, x, out):
    rounded_blocks(item, x, out)


@kernel(blocks=LARGE)
def multiply_bf16_nn(item, thread, a, b, out, add_out):
    acc = cuda.local.array((4, 4, 4), f32)
    clear_bf16(acc)
    m0, n0 = panel_corner(item, out.shape[0], out.shape[1])
    blocks_nn(acc, thread, m0, n0, 0, 64 * a.shape[1], a, b, 0)
    added_bf16(acc, thread, m0, n0, out, add_out)


@kernel(blocks=LARGE)
def multiply_bf16_nt(item, thread, a, b, out, add_out):
    acc = cuda.local.array((4, 4, 4), f32)
    clear_bf16(acc)
    m0, n0 = panel_corner(item, out.shape[0], out.shape[1])
    blocks_nt(acc, thread, m0, n0, 0, 64 * a.shape[1], a, b, 0)
    added_bf16(acc, thread, m0, n0, out, add_out)


@kernel(blocks=LARGE)
def multiply_bf16_tn(item, thread, a, b, out, add_out):
    acc = cuda.local.array((4, 4, 4), f32)
    clear_bf16(acc)
    m0, n0 = panel_corner(item, out.shape[0], out.shape[1])
    blocks_tn(acc, thread, m0, n0, 0, 128 * a.shape[0], a, b, 0)
    added_bf16(acc, thread, m0, n0, out, add_out)


@kernel(blocks=f"{PANEL_PARTS} * {LARGE}")
def multiply_bf16_parts(item, thread, a, b, parts):
    """Part `item % PANEL_PARTS` of K, cut at multiples of 64."""
    acc = cuda.local.array((4, 4, 4), f32)
    clear_bf16(acc)
    part, count = item % PANEL_PARTS, 2 * a.shape[0]
    m0, n0 = panel_corner(item // PANEL_PARTS, parts.shape[1], parts.shape[2])
    blocks_tn(acc, thread, m0, n0, 64 * (count * part // PANEL_PARTS), 64 * (count * (part + 1) // PANEL_PARTS), a, b, 0)
    added_bf16(acc, thread, m0, n0, parts[part], False)


@kernel(threads="ceil(M * N / 4)")
def add_panel_parts(item, parts, out, add_out):
    add_parts(item, PANEL_PARTS, parts, out, add_out)


@kernel(blocks=LARGE)
def multiply_bf16_dense(item, thread, x, weight, bias, activation, parameter, out):
    acc = cuda.local.array((4, 4, 4), f32)
    clear_bf16(acc)
    m0, n0 = panel_corner(item, out.shape[0], out.shape[1])
    blocks_nn(acc, thread, m0, n0, 0, 64 * x.shape[1], x, weight, 0)
    activated_bf16(acc, thread, m0, n0, out, bias, out[:0], activation, parameter)


# ---- the same on Hopper ------------------------------------------------------------------------------------------
WIDE_TILES = f"ceil(M / {cuda_wgmma.ROWS}) * ceil(N / {cuda_wgmma.COLUMNS})"
HOPPER = {"arch": "sm_90a", "block": cuda_wgmma.THREADS, "shared": cuda_wgmma.SHARED}
group_nn, group_nt = cuda_wgmma.warpgroup_tile(True, False), cuda_wgmma.warpgroup_tile(True, True)
group_tn, added_group = cuda_wgmma.warpgroup_tile(False, False), cuda_wgmma.write_added
activated_group, group_corner = cuda_wgmma.write_activated, cuda_wgmma.corner


@kernel(blocks=WIDE_TILES, name="multiply_bf16_nn", **HOPPER)
def group_multiply_nn(item, thread, a, b, out, add_out):
    m0, n0 = group_corner(item, out.shape[0], out.shape[1])
    added_group(group_nn(thread, m0, n0, 0, a.shape[1], a, b), thread, m0, n0, out, add_out)


@kernel(blocks=WIDE_TILES, name="multiply_bf16_nt", **HOPPER)
def group_multiply_nt(item, thread, a, b, out, add_out):
    m0, n0 = group_corner(item, out.shape[0], out.shape[1])
    added_group(group_nt(thread, m0, n0, 0, a.shape[1], a, b), thread, m0, n0, out, add_out)


@kernel(blocks=WIDE_TILES, name="multiply_bf16_tn", **HOPPER)
def group_multiply_tn(item, thread, a, b, out, add_out):
    m0, n0 = group_corner(item, out.shape[0], out.shape[1])
    added_group(group_tn(thread, m0, n0, 0, 2 * a.shape[0], a, b), thread, m0, n0, out, add_out)


@kernel(blocks=f"{PANEL_PARTS} * {WIDE_TILES}", name="multiply_bf16_parts", **HOPPER)
def group_multiply_parts(item, thread, a, b, parts):
    part, count = item % PANEL_PARTS, 2 * a.shape[0]
    m0, n0 = group_corner(item // PANEL_PARTS, parts.shape[1], parts.shape[2])
    found = group_tn(thread, m0, n0, count * part // PANEL_PARTS, count * (part + 1) // PANEL_PARTS, a, b)
    added_group(found, thread, m0, n0, parts[part], False)


@kernel(blocks=WIDE_TILES, name="multiply_bf16_dense", **HOPPER)
def group_multiply_dense(item, thread, x, weight, bias, activation, parameter, out):
    m0, n0 = group_corner(item, out.shape[0], out.shape[1])
    found = group_nn(thread, m0, n0, 0, x.shape[1], x, weight)
    activated_group(found, thread, m0, n0, out, bias, activation, parameter)


# ---- float32 in two parts on tensor cores ------------------------------------------------------------------------
split_nn, split_nt = cuda_tf32.split_tile(True, False), cuda_tf32.split_tile(True, True)
split_tn = cuda_tf32.split_tile(False, False)
for form, (a, b) in {"nn": ("M, K", "K, N"), "nt": ("M, K", "N, K"), "tn": ("K, M", "K, N")}.items():
    call(f"multiply_tf32_{form}(a: F[{a}], b: F[{b}] -> +out: F[M, N])", over=LARGE, flops="2 * M * N * K")
call(f"multiply_tf32_parts(a: F[K, M], b: F[K, N] -> parts: F[{PANEL_PARTS}, M, N])", over=LARGE, flops="2 * M * N * K")
call("multiply_tf32_dense(x: F[M, K], weight: f32[K, N], bias: f32[N]?, activation: i64, parameter: f32 -> out: F[M, N])",
     over=LARGE, flops="2 * M * N * K")
lowered("matmul_tn", "multiply_tf32_parts(a, b -> parts)", "add_panel_parts(parts -> out)",
        when=f"{MANY} and K >= 4096 and M * N <= 1048576", product="tf32x3")
for form in BLOCKS:
    lowered(f"matmul_{form}", f"multiply_tf32_{form}(a, b -> out)", when=MANY, product="tf32x3")
lowered("dense_forward", "multiply_tf32_dense(x, weight, bias, activation, parameter -> out)", when=MANY, product="tf32x3")


@kernel(blocks=LARGE)
def multiply_tf32_nn(item, thread, a, b, out, add_out):
    acc = cuda.local.array((4, 4, 4), f32)
    clear_bf16(acc)
    m0, n0 = panel_corner(item, out.shape[0], out.shape[1])
    split_nn(acc, thread, m0, n0, 0, a.shape[1], a, b, 0)
    added_bf16(acc, thread, m0, n0, out, add_out)


@kernel(blocks=LARGE)
def multiply_tf32_nt(item, thread, a, b, out, add_out):
    acc = cuda.local.array((4, 4, 4), f32)
    clear_bf16(acc)
    m0, n0 = panel_corner(item, out.shape[0], out.shape[1])
    split_nt(acc, thread, m0, n0, 0, a.shape[1], a, b, 0)
    added_bf16(acc, thread, m0, n0, out, add_out)


@kernel(blocks=LARGE)
def multiply_tf32_tn(item, thread, a, b, out, add_out):
    acc = cuda.local.array((4, 4, 4), f32)
    clear_bf16(acc)
    m0, n0 = panel_corner(item, out.shape[0], out.shape[1])
    split_tn(acc, thread, m0, n0, 0, a.shape[0], a, b, 0)
    added_bf16(acc, thread, m0, n0, out, add_out)


@kernel(blocks=f"{PANEL_PARTS} * {LARGE}")
def multiply_tf32_parts(item, thread, a, b, parts):
    """Part `item % PANEL_PARTS` of K, cut at multiples of 32."""
    acc = cuda.local.array((4, 4, 4), f32)
    clear_bf16(acc)
    part, K = item % PANEL_PARTS, a.shape[0]
    share = (K + 32 * PANEL_PARTS - 1) // (32 * PANEL_PARTS) * 32
    m0, n0 = panel_corner(item // PANEL_PARTS, parts.shape[1], parts.shape[2])
    split_tn(acc, thread, m0, n0, min(part * share, K), min((part + 1) * share, K), a, b, 0)
    added_bf16(acc, thread, m0, n0, parts[part], False)


@kernel(blocks=LARGE)
def multiply_tf32_dense(item, thread, x, weight, bias, activation, parameter, out):
    acc = cuda.local.array((4, 4, 4), f32)
    clear_bf16(acc)
    m0, n0 = panel_corner(item, out.shape[0], out.shape[1])
    split_nn(acc, thread, m0, n0, 0, x.shape[1], x, weight, 0)
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
