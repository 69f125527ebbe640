"""Convolutions on a GPU: an implicit product, in the tiles of the matrix room; its left operand, the patches of the images, is
never made.  Large ones on tensor cores are in `cuda_panels`; others are on them where the plan's products are bf16.  Where channels
form groups, a thread for each element of the result.

Rows of the product are places (b, p, q) of the output, its k is (kh, kw, j), its columns are channels.  The gradient by the weights
is summed in PARTS that are added in order.
"""
import numpy as np

from dlcore.compiler.cuda.intrinsics import cuda, f32
from dlcore.compiler.cuda.language import kernel, lowered
from dlcore.compiler.cuda.places import part_of
from dlcore.compiler.language import call, helper
from dlcore.ops.conv2d import FILTER, FLOPS, IMAGE, STEPS
from dlcore.ops.conv2d.cuda_panels import arrival_place, read_place  # its lowerings come first
from dlcore.ops.matmul import cuda_bf16
from dlcore.ops.matmul.cuda_tiles import SIDE, activated, clear, product_tile, write_activated, write_added

PARTS = 32
ZERO = np.float32(0)
TILES = "ceil(M / 64) * ceil(N / 64)"
OPTIONS = f"height: i64, width: i64, {STEPS}"
TURNED = "weight: f32[KH, KW, N, G, J]"
ENDS = "bias: f32[G * N]?, residual: F[M, G * N]?"

for form in ("bf16", "tiles", "groups"):
    call(f"conv2d_{form}({IMAGE}, {FILTER}, {OPTIONS} -> +out: F[M, G * N])", over=TILES, flops=FLOPS)
    call(f"conv2d_forward_{form}({IMAGE}, {FILTER}, {ENDS}, {OPTIONS}, activation: i64, parameter: f32 -> out: F[M, G * N])",
         over=TILES, flops=FLOPS)
    call(f"conv2d_data_{form}({IMAGE}, {TURNED}, {OPTIONS} -> +out: F[M, G * N])", over=TILES, flops=FLOPS)
    call(f"conv2d_weight_{form}({IMAGE}, dout: F[M, G * N], {OPTIONS} -> parts: F[{PARTS}, KH * KW * J * G * N])", over=TILES,
         flops=FLOPS)
    steps, served = "height, width, sh, sw, dh, dw, top, left", {}
    if form != "groups":
        served["when"] = "G == 1"
    if form == "bf16":
        served["product"] = "bf16"
    lowered("conv2d", f"conv2d_{form}(x, weight, {steps} -> out)", **served)
    lowered("conv2d_forward", f"conv2d_forward_{form}(x, weight, bias, residual, {steps}, activation, parameter -> out)", **served)
    lowered("conv2d_data", f"conv2d_data_{form}(x, weight, {steps} -> out)", **served)
    lowered("conv2d_weight", f"conv2d_weight_{form}(x, dout, {steps} -> parts)", "add_parts(parts -> dweight)", **served)


# ---- elements of the operands ------------------------------------------------------------------------------------
@helper
def pixel(x, m, kh, kw, channel, channels, geometry):
    """The element of the image that tap (kh, kw) of place m reads; 0 outside."""
    b, h, w = read_place(m, kh, kw, geometry)
    inside = 0 <= h < x.shape[1] and 0 <= w and w * channels < x.shape[2]
    return x[b, h, w * channels + channel] if inside else ZERO


@helper
def arrived(x, m, kh, kw, KH, KW, channel, channels, geometry):
    """The gradient that reached place m of the image through tap (kh, kw): that of the output whose window holds it there."""
    b, i, j, there = arrival_place(m, kh, kw, KH, KW, geometry)
    inside = there and i < x.shape[1] and j * channels < x.shape[2]
    return x[b, i, j * channels + channel] if inside else ZERO


@helper
def tap(k, KW, J):
    """(kh, kw, j) of k."""
    rest = part_of(k, J)
    kh = part_of(rest, KW)
    return kh, rest - kh * KW, k - rest * J


@helper
def patch(x, m, k, extra):
    kh, kw, j = tap(k, extra[0], extra[1])
    return pixel(x, m, kh, kw, j, extra[1], extra[2])


@helper
def filter_row(weight, n, k, extra):
    kh, kw, j = tap(k, extra[0], extra[1])
    return weight[kh, kw, j, 0, n]


@helper
def arrived_patch(x, m, k, extra):
    kh, kw, j = tap(k, extra[0], extra[1])
    return arrived(x, m, kh, kw, extra[3], extra[0], j, extra[1], extra[2])


@helper
def turned_row(weight, n, k, extra):
    kh, kw, j = tap(k, extra[0], extra[1])
    return weight[kh, kw, n, 0, j]


@helper
def patch_of_place(x, k, m, extra):
    """For the gradient by the weights, whose rows are taps and whose sum runs over places."""
    kh, kw, j = tap(k, extra[0], extra[1])
    return pixel(x, m, kh, kw, j, extra[1], extra[2])


@helper
def dout_of_place(dout, n, m, extra):
    return dout[m, n]


forward_product = product_tile(patch, True, filter_row, False)
data_product = product_tile(arrived_patch, True, turned_row, True)
weight_product = product_tile(patch_of_place, False, dout_of_place, False)


@helper
def corner(tile, N):
    columns = (N + SIDE - 1) // SIDE
    row = part_of(tile, columns)
    return row * SIDE, (tile - row * columns) * SIDE


# ---- one group: tiles --------------------------------------------------------------------------------------------
@kernel(blocks=TILES)
def conv2d_tiles(item, thread, x, weight, height, width, sh, sw, dh, dw, top, left, out, add_out):
    acc = cuda.local.array((4, 4), f32)
    clear(acc)
    KH, KW, J = weight.shape[0], weight.shape[1], weight.shape[2]
    m0, n0 = corner(item, out.shape[1])
    extra = (KW, J, (height, width, sh, sw, dh, dw, top, left), KH)
    forward_product(acc, thread, m0, n0, out.shape[0], out.shape[1], 0, KH * KW * J, x, weight, extra)
    write_added(acc, thread, m0, n0, out, add_out)


@kernel(blocks=TILES)
def conv2d_forward_tiles(item, thread, x, weight, bias, residual, height, width, sh, sw, dh, dw, top, left, activation, parameter,
                         out):
    acc = cuda.local.array((4, 4), f32)
    clear(acc)
    KH, KW, J = weight.shape[0], weight.shape[1], weight.shape[2]
    m0, n0 = corner(item, out.shape[1])
    extra = (KW, J, (height, width, sh, sw, dh, dw, top, left), KH)
    forward_product(acc, thread, m0, n0, out.shape[0], out.shape[1], 0, KH * KW * J, x, weight, extra)
    write_activated(acc, thread, m0, n0, out, bias, residual, activation, parameter)


@kernel(blocks=TILES)
def conv2d_data_tiles(item, thread, x, weight, height, width, sh, sw, dh, dw, top, left, out, add_out):
    acc = cuda.local.array((4, 4), f32)
    clear(acc)
    KH, KW, J = weight.shape[0], weight.shape[1], weight.shape[4]
    m0, n0 = corner(item, out.shape[1])
    extra = (KW, J, (height, width, sh, sw, dh, dw, top, left), KH)
    data_product(acc, thread, m0, n0, out.shape[0], out.shape[1], 0, KH * KW * J, x, weight, extra)
    write_added(acc, thread, m0, n0, out, add_out)


@kernel(blocks=f"{PARTS} * ceil(KH * KW * J / 64) * ceil(N / 64)")
def conv2d_weight_tiles(item, thread, x, dout, height, width, sh, sw, dh, dw, top, left, parts, KH, KW, J, N):
    acc = cuda.local.array((4, 4), f32)
    clear(acc)
    part, M, taps = item % PARTS, dout.shape[0], KH * KW * J
    m0, n0 = corner(item // PARTS, N)
    extra = (KW, J, (height, width, sh, sw, dh, dw, top, left), KH)
    weight_product(acc, thread, m0, n0, taps, N, M * part // PARTS, M * (part + 1) // PARTS, x, dout, extra)
    for i in range(4):
        for j in range(4):
            row, column = m0 + thread // 16 + 16 * i, n0 + thread % 16 + 16 * j
            if row < taps and column < N:
                parts[part, row * N + column] = acc[i, j]


# ---- one group, on tensor cores ----------------------------------------------------------------------------------
LARGE_SIDE = cuda_bf16.SIDE
LARGE = "ceil(M / 128) * ceil(N / 128)"
forward_bf16 = cuda_bf16.bf16_tile(patch, True, filter_row, False)
data_bf16 = cuda_bf16.bf16_tile(arrived_patch, True, turned_row, True)
weight_bf16 = cuda_bf16.bf16_tile(patch_of_place, False, dout_of_place, False)
clear_bf16, added_bf16, activated_bf16 = cuda_bf16.clear, cuda_bf16.write_added, cuda_bf16.write_activated
write_flat = cuda_bf16.write_flat


@helper
def large_corner(tile, N):
    columns = (N + LARGE_SIDE - 1) // LARGE_SIDE
    row = part_of(tile, columns)
    return row * LARGE_SIDE, (tile - row * columns) * LARGE_SIDE


@kernel(blocks=LARGE)
def conv2d_bf16(item, thread, x, weight, height, width, sh, sw, dh, dw, top, left, out, add_out):
    acc = cuda.local.array((4, 4, 4), f32)
    clear_bf16(acc)
    KH, KW, J = weight.shape[0], weight.shape[1], weight.shape[2]
    m0, n0 = large_corner(item, out.shape[1])
    extra = (KW, J, (height, width, sh, sw, dh, dw, top, left), KH)
    forward_bf16(acc, thread, m0, n0, out.shape[0], out.shape[1], 0, KH * KW * J, x, weight, extra)
    added_bf16(acc, thread, m0, n0, out, add_out)


@kernel(blocks=LARGE)
def conv2d_forward_bf16(item, thread, x, weight, bias, residual, height, width, sh, sw, dh, dw, top, left, activation, parameter,
                        out):
    acc = cuda.local.array((4, 4, 4), f32)
    clear_bf16(acc)
    KH, KW, J = weight.shape[0], weight.shape[1], weight.shape[2]
    m0, n0 = large_corner(item, out.shape[1])
    extra = (KW, J, (height, width, sh, sw, dh, dw, top, left), KH)
    forward_bf16(acc, thread, m0, n0, out.shape[0], out.shape[1], 0, KH * KW * J, x, weight, extra)
    activated_bf16(acc, thread, m0, n0, out, bias, residual, activation, parameter)


@kernel(blocks=LARGE)
def conv2d_data_bf16(item, thread, x, weight, height, width, sh, sw, dh, dw, top, left, out, add_out):
    acc = cuda.local.array((4, 4, 4), f32)
    clear_bf16(acc)
    KH, KW, J = weight.shape[0], weight.shape[1], weight.shape[4]
    m0, n0 = large_corner(item, out.shape[1])
    extra = (KW, J, (height, width, sh, sw, dh, dw, top, left), KH)
    data_bf16(acc, thread, m0, n0, out.shape[0], out.shape[1], 0, KH * KW * J, x, weight, extra)
    added_bf16(acc, thread, m0, n0, out, add_out)


@kernel(blocks=f"{PARTS} * ceil(KH * KW * J / 128) * ceil(N / 128)")
def conv2d_weight_bf16(item, thread, x, dout, height, width, sh, sw, dh, dw, top, left, parts, KH, KW, J, N):
    acc = cuda.local.array((4, 4, 4), f32)
    clear_bf16(acc)
    part, M, taps = item % PARTS, dout.shape[0], KH * KW * J
    m0, n0 = large_corner(item // PARTS, N)
    extra = (KW, J, (height, width, sh, sw, dh, dw, top, left), KH)
    weight_bf16(acc, thread, m0, n0, taps, N, M * part // PARTS, M * (part + 1) // PARTS, x, dout, extra)
    write_flat(acc, thread, m0, n0, taps, N, parts[part])


# ---- several groups: a thread for each element -------------------------------------------------------------------
@helper
def group_sum(x, weight, m, channel, geometry):
    KH, KW, J, G, N = weight.shape
    g = part_of(channel, N)
    n, total = channel - g * N, ZERO
    for kh in range(KH):
        for kw in range(KW):
            for j in range(J):
                total += pixel(x, m, kh, kw, g * J + j, G * J, geometry) * weight[kh, kw, j, g, n]
    return total


@kernel(threads="M * G * N")
def conv2d_groups(item, x, weight, height, width, sh, sw, dh, dw, top, left, out, add_out):
    m = part_of(item, out.shape[1])
    c = item - m * out.shape[1]
    total = group_sum(x, weight, m, c, (height, width, sh, sw, dh, dw, top, left))
    out[m, c] = total + (out[m, c] if add_out else ZERO)


@kernel(threads="M * G * N")
def conv2d_forward_groups(item, x, weight, bias, residual, height, width, sh, sw, dh, dw, top, left, activation, parameter, out):
    m = part_of(item, out.shape[1])
    c = item - m * out.shape[1]
    total = group_sum(x, weight, m, c, (height, width, sh, sw, dh, dw, top, left))
    total += bias[c] if bias.shape[0] > 0 else ZERO
    total += residual[m, c] if residual.shape[0] > 0 else ZERO
    out[m, c] = activated(total, activation, parameter)


@kernel(threads="M * G * N")
def conv2d_data_groups(item, x, weight, height, width, sh, sw, dh, dw, top, left, out, add_out):
    KH, KW, N, G, J = weight.shape
    m = part_of(item, out.shape[1])
    c = item - m * out.shape[1]
    g = part_of(c, N)
    n, total, geometry = c - g * N, ZERO, (height, width, sh, sw, dh, dw, top, left)
    for kh in range(KH):
        for kw in range(KW):
            for j in range(J):
                total += arrived(x, m, kh, kw, KH, KW, g * J + j, G * J, geometry) * weight[kh, kw, n, g, j]
    out[m, c] = total + (out[m, c] if add_out else ZERO)


@kernel(threads=f"{PARTS} * KH * KW * J * G * N")
def conv2d_weight_groups(item, x, dout, height, width, sh, sw, dh, dw, top, left, parts, KW, J, G, N):
    """A thread for each weight of a part: those of neighbouring channels read side by side."""
    size, M = parts.shape[1], dout.shape[0]
    part = part_of(item, size)
    at = item - part * size
    rest = part_of(at, G * N)
    c = at - rest * G * N
    kh, kw, j = tap(rest, KW, J)
    channel, total, geometry = part_of(c, N) * J + j, ZERO, (height, width, sh, sw, dh, dw, top, left)
    for m in range(M * part // PARTS, M * (part + 1) // PARTS):
        total += pixel(x, m, kh, kw, channel, G * J, geometry) * dout[m, c]
    parts[part, at] = total
