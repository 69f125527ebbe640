"""Convolutions as implicit products in the three stages of large matrix products (`matmul/cuda_stages.py`).

The channels of a pixel lie side by side, so 16 bytes of a row of patches are 16 bytes of one pixel: they are copied from the image
into shared memory beside the products, zeros where the tap lies outside, and no patch is ever made.  k is (kh, kw, j), j running
over the channels padded to whole 16 bytes.  In bf16 images, filters and gradients are rounded once, padded so, and then serve
forward and backward; with float32 products in parts (`matmul/cuda_tf32.py`) they are read as they lie, if their channels are a
multiple of 4.
"""
from dlcore.compiler.cuda.intrinsics import cuda, f32, i64, u32, u64
from dlcore.compiler.cuda.language import kernel, lowered
from dlcore.compiler.cuda.places import part_of
from dlcore.compiler.cuda.vectors import address_of, copy_16
from dlcore.compiler.language import call, helper
from dlcore.ops.conv2d import FILTER, FLOPS, IMAGE, STEPS
from dlcore.ops.matmul import cuda_bf16, cuda_panels, cuda_tf32
from dlcore.ops.matmul.cuda_stages import HALF, corner, place_along, staged

PARTS = 32
LARGE = "ceil(M / 128) * ceil(N / 128)"
OPTIONS = f"height: i64, width: i64, {STEPS}"
NAMES = "height, width, sh, sw, dh, dw, top, left"
MANY = "G == 1 and M * N * KH * KW * J >= 33554432"
ENDS = "bias: f32[N]?, residual: F[M, N]?"
ROUNDED = "x: bf16[B, H, W, ceil(J / 8) * 8]"
copy_four = cuda_tf32.copy_four
clear, added, activated = cuda_bf16.clear, cuda_bf16.write_added, cuda_bf16.write_activated

call("round_pixels(x: F[B, H, W * J] -> out: bf16[B, H, W, ceil(J / 8) * 8])", over="B", flops="B * H * W * J")
call("round_filter(weight: f32[KH, KW, J, G, N] -> out: bf16[KH * KW * J * G, ceil(N / 8) * 8])", over="KH",
     flops="KH * KW * J * G * N")
call(f"conv2d_panels({ROUNDED}, weight: bf16[KH * KW * J, ceil(N / 8) * 8], {OPTIONS} -> +out: F[M, N])", over=LARGE,
     flops="2 * M * KH * KW * J * N")
call(f"conv2d_forward_panels({ROUNDED}, weight: bf16[KH * KW * J, ceil(N / 8) * 8], {ENDS}, {OPTIONS}, activation: i64,"
     " parameter: f32 -> out: F[M, N])", over=LARGE, flops="2 * M * KH * KW * J * N")
call(f"conv2d_data_panels({ROUNDED}, weight: bf16[KH * KW * N, ceil(J / 8) * 8], {OPTIONS} -> +out: F[M, N])", over=LARGE,
     flops="2 * M * KH * KW * J * N")
call(f"conv2d_weight_panels({ROUNDED}, dout: bf16[M, ceil(N / 8) * 8], {OPTIONS} -> parts: F[{PARTS}, KH * KW * J * N])",
     over=LARGE, flops="2 * M * KH * KW * J * N")
PIXELS, FILTERS = "round_pixels(x -> x_rounded)", "round_filter(weight -> weight_rounded)"
WIDE = {"when": f"{MANY} and J >= 8", "product": "bf16"}
lowered("conv2d", PIXELS, FILTERS, f"conv2d_panels(x_rounded, weight_rounded, {NAMES} -> out)", **WIDE)
lowered("conv2d_forward", PIXELS, FILTERS,
        f"conv2d_forward_panels(x_rounded, weight_rounded, bias, residual, {NAMES}, activation, parameter -> out)", **WIDE)
lowered("conv2d_data", PIXELS, FILTERS, f"conv2d_data_panels(x_rounded, weight_rounded, {NAMES} -> out)", **WIDE)
lowered("conv2d_weight", PIXELS, "round_to_bf16(dout -> dout_rounded)",
        f"conv2d_weight_panels(x_rounded, dout_rounded, {NAMES} -> parts)", "add_parts(parts -> dweight)", **WIDE)

call(f"conv2d_tf32({IMAGE}, {FILTER}, {OPTIONS} -> +out: F[M, N])", over=LARGE, flops=FLOPS)
call(f"conv2d_forward_tf32({IMAGE}, {FILTER}, {ENDS}, {OPTIONS}, activation: i64, parameter: f32 -> out: F[M, N])", over=LARGE,
     flops=FLOPS)
call(f"conv2d_data_tf32({IMAGE}, weight: f32[KH, KW, N, G, J], {OPTIONS} -> +out: F[M, N])", over=LARGE, flops=FLOPS)
call(f"conv2d_weight_tf32({IMAGE}, dout: F[M, N], {OPTIONS} -> parts: F[{PARTS}, KH * KW * J * N])", over=LARGE, flops=FLOPS)
WHOLE = {"when": f"{MANY} and J % 4 == 0", "product": "tf32x3"}
lowered("conv2d", f"conv2d_tf32(x, weight, {NAMES} -> out)", **WHOLE)
lowered("conv2d_forward", f"conv2d_forward_tf32(x, weight, bias, residual, {NAMES}, activation, parameter -> out)", **WHOLE)
lowered("conv2d_data", f"conv2d_data_tf32(x, weight, {NAMES} -> out)", **WHOLE)
lowered("conv2d_weight", f"conv2d_weight_tf32(x, dout, {NAMES} -> parts)", "add_parts(parts -> dweight)", **WHOLE)


# ---- places ------------------------------------------------------------------------------------------------------
@helper
def read_place(m, kh, kw, geometry):
    """(b, h, w) of what tap (kh, kw) of place m of the output reads, perhaps outside the image."""
    height, width, sh, sw, dh, dw, top, left = geometry
    row = part_of(m, width)
    b = part_of(row, height)
    return b, (row - b * height) * sh + kh * dh - top, (m - row * width) * sw + kw * dw - left


@helper
def arrival_place(m, kh, kw, KH, KW, geometry):
    """(b, i, j, whether it is there) of the output whose tap (KH - 1 - kh, KW - 1 - kw) reads place m of the image."""
    height, width, sh, sw, dh, dw, top, left = geometry
    row = part_of(m, width)
    b = part_of(row, height)
    p = row - b * height - top + (KH - 1 - kh) * dh
    q = m - row * width - left + (KW - 1 - kw) * dw
    i, j = part_of(max(p, i64(0)), sh), part_of(max(q, i64(0)), sw)
    return b, i, j, p >= 0 and q >= 0 and i * sh == p and j * sw == q


@helper
def read_pixel(m, kh, kw, KH, KW, H, W, geometry):
    """(is it inside, number of the pixel)"""
    b, h, w = read_place(m, kh, kw, geometry)
    return kh < KH and 0 <= h < H and 0 <= w < W, (b * H + h) * W + w


@helper
def arrival_pixel(m, kh, kw, KH, KW, H, W, geometry):
    b, i, j, there = arrival_place(m, kh, kw, KH, KW, geometry)
    return kh < KH and there and i < H and j < W, (b * H + i) * W + j


@helper
def tap_of(k, KW, J):
    """(tap, kh, kw, j) of k."""
    tap = part_of(k, J)
    kh = part_of(tap, KW)
    return tap, kh, tap - kh * KW, k - tap * J


# ---- copies, of 8 bf16 or 4 floats -------------------------------------------------------------------------------
@helper
def copy_rounded(to, x, at, count, pitch):
    copy_16(to, address_of(x) + (u64(2) * u64(at) if count > 0 else u64(0)), u32(16) if count > 0 else u32(0))


@helper
def copy_floats(to, x, at, count, pitch):
    copy_four(to, x, at, count, pitch & 3 == 0 and address_of(x) & u64(15) == u64(0))


def patches_along(copy, wide, locate):
    """128 places, a slice of k; shape: (geometry, H, W, J as it lies, KH, KW, M)."""

    @helper
    def bring(tile, x, m0, k, thread, shape):
        geometry, H, W, pitch, KH, KW, M = shape
        chunk = thread & 3
        tap, kh, kw, j = tap_of(k + wide * chunk, KW, pitch)
        for n in range(2):
            r = (thread >> 2) + 64 * n
            inside, at = locate(m0 + r, kh, kw, KH, KW, H, W, geometry)
            copy(tile + place_along(r, chunk), x, at * pitch + j, wide if inside and m0 + r < M else 0, pitch)

    return bring


def patches_across(copy, wide, place):
    """A slice of places, 128 of k; to stop."""
    per = 128 // wide

    @helper
    def bring(tile, x, k0, m, stop, thread, shape):
        geometry, H, W, pitch, KH, KW, M = shape
        chunk = thread & (per - 1)
        tap, kh, kw, j = tap_of(k0 + wide * chunk, KW, pitch)
        for n in range(2):
            r = thread // per + 256 // per * n
            inside, at = read_pixel(m + r, kh, kw, KH, KW, H, W, geometry)
            copy(tile + place(r, chunk), x, at * pitch + j, wide if inside and m + r < stop else 0, pitch)

    return bring


def filters_across(copy, wide, place):
    """A slice of k, 128 channels of the output.  J of `taps` are there of each J as it lies in the other operand."""
    per = 128 // wide

    @helper
    def bring(tile, weight, n0, k, thread, taps, J, padded, pitch):
        chunk = thread & (per - 1)
        c = n0 + wide * chunk
        for n in range(2):
            r = thread // per + 256 // per * n
            tap = part_of(k + r, padded)
            j = k + r - tap * padded
            copy(tile + place(r, chunk), weight, (tap * J + j) * pitch + c, pitch - c if tap < taps and j < J else 0, pitch)

    return bring


def filters_along(copy, wide):
    """128 channels of the image, a slice of k."""

    @helper
    def bring(tile, weight, n0, k, thread, taps, N, pitch):
        chunk = thread & 3
        tap = part_of(k + wide * chunk, pitch)
        j = k + wide * chunk - tap * pitch
        for n in range(2):
            r = (thread >> 2) + 64 * n
            there = tap < taps and n0 + r < N
            copy(tile + place_along(r, chunk), weight, (tap * N + n0 + r) * pitch + j, wide if there else 0, pitch)

    return bring


def pipelines(copy, wide, room):
    """`staged` for out, by the images, by the filters.  extra: (shape of `patches_along`, J, pitch of the filters)."""
    place, bring_dout, product, depth = room.place_across, room.bring_across, room.slice_product, room.DEPTH
    read, arrived = patches_along(copy, wide, read_pixel), patches_along(copy, wide, arrival_pixel)
    read_across, filters, turned = (patches_across(copy, wide, place), filters_across(copy, wide, place), filters_along(copy, wide))

    @helper
    def forward(tile, m0, n0, k, stop, a, b, thread, extra):
        shape, J, pitch = extra
        read(tile, a, m0, k, thread, shape)
        filters(tile + u32(HALF), b, n0, k, thread, shape[4] * shape[5], J, shape[3], pitch)

    @helper
    def data(tile, m0, n0, k, stop, a, b, thread, extra):
        shape, N, pitch = extra
        arrived(tile, a, m0, k, thread, shape)
        turned(tile + u32(HALF), b, n0, k, thread, shape[4] * shape[5], N, pitch)

    @helper
    def weight(tile, m0, n0, k, stop, a, b, thread, extra):
        read_across(tile, a, m0, k, stop, thread, extra[0])
        bring_dout(tile + u32(HALF), b, n0, k, stop, thread)

    return (staged(forward, product(True, False), depth), staged(data, product(True, True), depth),
            staged(weight, product(False, False), depth))


forward_bf16, data_bf16, weight_bf16 = pipelines(copy_rounded, 8, cuda_panels)
forward_tf32, data_tf32, weight_tf32 = pipelines(copy_floats, 4, cuda_tf32)


# ---- rounding ----------------------------------------------------------------------------------------------------
@helper
def of_image(x, r, c, size):
    """Channel c of the r-th pixel; size: of the others."""
    H, C, W = size
    row = part_of(r, W)
    b = part_of(row, H)
    return x[b, row - b * H, (r - row * W) * C + c]


@helper
def of_filter(weight, r, c, size):
    KW, J, G = size
    rest = part_of(r, G)
    tap = part_of(rest, J)
    kh = part_of(tap, KW)
    return weight[kh, tap - kh * KW, rest - tap * J, r - rest * G, c]


round_image_eight, round_filter_eight = cuda_panels.rounding(of_image), cuda_panels.rounding(of_filter)


@kernel(threads="B * H * W * ceil(J / 8)")
def round_pixels(item, x, out, W, J):
    round_image_eight(item, x, J, (x.shape[1], J, W), out)


@kernel(threads="KH * KW * J * G * ceil(N / 8)")
def round_filter(item, weight, out):
    round_filter_eight(item, weight, weight.shape[4], (weight.shape[1], weight.shape[2], weight.shape[3]), out)


@helper
def write_tap_rows(acc, i, thread, m0, n0, size, out):
    """The i-th 16 rows of each warp, whose rows are (kh, kw, j) with j padded, into out [KH * KW * J * N]."""
    taps, J, padded, N = size
    lane, warp = thread & 31, thread >> 5
    m, n = m0 + (warp >> 2) * 64 + 16 * i + (lane >> 2), n0 + (warp & 3) * 32 + (lane & 3) * 2
    for upper in range(2):
        tap = part_of(m + 8 * upper, padded)
        j = m + 8 * upper - tap * padded
        if tap < taps and j < J:
            at = (tap * J + j) * N
            for t in range(4):
                for r in range(2):
                    if n + 8 * t + r < N:
                        out[at + n + 8 * t + r] = acc[i, t, 2 * upper + r]


@helper
def write_taps(acc, thread, m0, n0, size, out):
    write_tap_rows(acc, 0, thread, m0, n0, size, out)
    write_tap_rows(acc, 1, thread, m0, n0, size, out)
    write_tap_rows(acc, 2, thread, m0, n0, size, out)
    write_tap_rows(acc, 3, thread, m0, n0, size, out)


# ---- bf16 --------------------------------------------------------------------------------------------------------
@kernel(blocks=LARGE)
def conv2d_panels(item, thread, x, weight, height, width, sh, sw, dh, dw, top, left, out, add_out, KH, KW, J):
    acc = cuda.local.array((4, 4, 4), f32)
    clear(acc)
    m0, n0 = corner(item, out.shape[0], out.shape[1])
    shape = ((height, width, sh, sw, dh, dw, top, left), x.shape[1], x.shape[2], x.shape[3], KH, KW, out.shape[0])
    forward_bf16(acc, thread, m0, n0, 0, KH * KW * x.shape[3], x, weight, (shape, J, weight.shape[1]))
    added(acc, thread, m0, n0, out, add_out)


@kernel(blocks=LARGE)
def conv2d_forward_panels(item, thread, x, weight, bias, residual, height, width, sh, sw, dh, dw, top, left, activation, parameter,
                          out, KH, KW, J):
    acc = cuda.local.array((4, 4, 4), f32)
    clear(acc)
    m0, n0 = corner(item, out.shape[0], out.shape[1])
    shape = ((height, width, sh, sw, dh, dw, top, left), x.shape[1], x.shape[2], x.shape[3], KH, KW, out.shape[0])
    forward_bf16(acc, thread, m0, n0, 0, KH * KW * x.shape[3], x, weight, (shape, J, weight.shape[1]))
    activated(acc, thread, m0, n0, out, bias, residual, activation, parameter)


@kernel(blocks=LARGE)
def conv2d_data_panels(item, thread, x, weight, height, width, sh, sw, dh, dw, top, left, out, add_out, KH, KW):
    acc = cuda.local.array((4, 4, 4), f32)
    clear(acc)
    m0, n0 = corner(item, out.shape[0], out.shape[1])
    shape = ((height, width, sh, sw, dh, dw, top, left), x.shape[1], x.shape[2], x.shape[3], KH, KW, out.shape[0])
    data_bf16(acc, thread, m0, n0, 0, KH * KW * x.shape[3], x, weight, (shape, out.shape[1], weight.shape[1]))
    added(acc, thread, m0, n0, out, add_out)


@kernel(blocks=f"{PARTS} * ceil(KH * KW * ceil(J / 8) * 8 / 128) * ceil(N / 128)")
def conv2d_weight_panels(item, thread, x, dout, height, width, sh, sw, dh, dw, top, left, parts, KH, KW, J, N):
    acc = cuda.local.array((4, 4, 4), f32)
    clear(acc)
    part, M, padded = item % PARTS, dout.shape[0], x.shape[3]
    m0, n0 = corner(item // PARTS, KH * KW * padded, N)
    shape = ((height, width, sh, sw, dh, dw, top, left), x.shape[1], x.shape[2], padded, KH, KW, M)
    weight_bf16(acc, thread, m0, n0, M * part // PARTS, M * (part + 1) // PARTS, x, dout, (shape, 0))
    write_taps(acc, thread, m0, n0, (KH * KW, J, padded, N), parts[part])


# ---- float32 in parts --------------------------------------------------------------------------------------------
@kernel(blocks=LARGE)
def conv2d_tf32(item, thread, x, weight, height, width, sh, sw, dh, dw, top, left, out, add_out, W):
    acc = cuda.local.array((4, 4, 4), f32)
    clear(acc)
    KH, KW, J = weight.shape[0], weight.shape[1], weight.shape[2]
    m0, n0 = corner(item, out.shape[0], out.shape[1])
    shape = ((height, width, sh, sw, dh, dw, top, left), x.shape[1], W, J, KH, KW, out.shape[0])
    forward_tf32(acc, thread, m0, n0, 0, KH * KW * J, x, weight, (shape, J, weight.shape[4]))
    added(acc, thread, m0, n0, out, add_out)


@kernel(blocks=LARGE)
def conv2d_forward_tf32(item, thread, x, weight, bias, residual, height, width, sh, sw, dh, dw, top, left, activation, parameter,
                        out, W):
    acc = cuda.local.array((4, 4, 4), f32)
    clear(acc)
    KH, KW, J = weight.shape[0], weight.shape[1], weight.shape[2]
    m0, n0 = corner(item, out.shape[0], out.shape[1])
    shape = ((height, width, sh, sw, dh, dw, top, left), x.shape[1], W, J, KH, KW, out.shape[0])
    forward_tf32(acc, thread, m0, n0, 0, KH * KW * J, x, weight, (shape, J, weight.shape[4]))
    activated(acc, thread, m0, n0, out, bias, residual, activation, parameter)


@kernel(blocks=LARGE)
def conv2d_data_tf32(item, thread, x, weight, height, width, sh, sw, dh, dw, top, left, out, add_out, W):
    acc = cuda.local.array((4, 4, 4), f32)
    clear(acc)
    KH, KW, J = weight.shape[0], weight.shape[1], weight.shape[4]
    m0, n0 = corner(item, out.shape[0], out.shape[1])
    shape = ((height, width, sh, sw, dh, dw, top, left), x.shape[1], W, J, KH, KW, out.shape[0])
    data_tf32(acc, thread, m0, n0, 0, KH * KW * J, x, weight, (shape, out.shape[1], J))
    added(acc, thread, m0, n0, out, add_out)


@kernel(blocks=f"{PARTS} * ceil(KH * KW * J / 128) * ceil(N / 128)")
def conv2d_weight_tf32(item, thread, x, dout, height, width, sh, sw, dh, dw, top, left, parts, KH, KW, J, W):
    acc = cuda.local.array((4, 4, 4), f32)
    clear(acc)
    part, M, N = item % PARTS, dout.shape[0], dout.shape[1]
    m0, n0 = corner(item // PARTS, KH * KW * J, N)
    shape = ((height, width, sh, sw, dh, dw, top, left), x.shape[1], W, J, KH, KW, M)
    weight_tf32(acc, thread, m0, n0, M * part // PARTS, M * (part + 1) // PARTS, x, dout, (shape, 0))
    write_taps(acc, thread, m0, n0, (KH * KW, J, J, N), parts[part])
