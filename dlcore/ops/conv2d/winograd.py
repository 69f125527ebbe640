"""Convolutions of 3 x 3 taps that step by one, on the CPU, by Winograd's F(2 x 2, 3 x 3): 16 products where taps need 36.

The output is made of tiles of 2 x 2 places.  With V = B'dB of the 4 x 4 places that a tile sees and U = GgG' of the filters, the
tile is A'(sum over channels of U V)A, so that each of the 16 elements is a matrix product of tiles by channels.  BLOCK tiles are
transformed, multiplied and transformed back while they are near.  The gradient by the weights is G'(sum over tiles of V (AyA'))G,
y being what arrived at a tile; it is summed in PARTS that the shape fixes, and the parts are added in order.

An infinity or a NaN in the image reaches all places of the tiles that see it.  Sources: Winograd, Arithmetic complexity of
computations, 1980; Lavin, Gray, Fast algorithms for convolutional neural networks, 2015.
"""
import numpy as np

from dlcore.compiler.language import call, constant, helper, kernel, lowered
from dlcore.ops.conv2d import winograd_tiles as maps
from dlcore.ops.conv2d.blocks import LOW, MIDDLE, NARROW, VECTORS
from dlcore.ops.conv2d.winograd_tiles import near_tile, output_transform, transform
from dlcore.ops.matmul import NONE, RELU
from dlcore.ops.matmul.activate import activate
from dlcore.ops.matmul.tiles import ADD, BIAS, transposed_block
from dlcore.ops.matmul.tiles import RELU as AT_LEAST_0

TILE, PANEL, LANES = constant("TILE"), constant("PANEL"), constant("LANES")
SHARES = 32                     # of the tiles, each with room for a block
UNIT = 4                        # tiles that are not shared by two threads
BLOCK, SOME = 2 * TILE + 8, "(2 * TILE + 8)"     # tiles that are transformed at a time, a multiple of UNIT, and that in a spec
DEEP = 48                       # and for the gradient by the weights
TALL = 16 if TILE == 12 else 8  # rows of a product's tile where columns fill half a panel
FEW = 64                        # tiles: with no more, threads share the channels first, each its own filters
GAP = 16                        # elements between the 16 matrices, so that they do not meet in the caches
CHANNELS = 16                   # channels in and out are multiples of it
ZERO = np.float32(0)
FITS = (f"KH == 3 and KW == 3 and G == 1 and sh == 1 and sw == 1 and dh == 1 and dw == 1 and J % {CHANNELS} == 0"
        f" and N % {CHANNELS} == 0 and J * N <= 65536 and height >= 4 and width >= 4")
PLACES = "height, width, W, top, left"
GEOMETRY = "height: i64, width: i64, columns: i64, top: i64, left: i64"
PANELS = "ceil(N / PANEL)"

image_transform = transform("winograd_image", maps.image, LANES)
filter_transform = transform("winograd_filter", maps.filter, LANES)
arrived_transform = transform("winograd_arrived", maps.arrived, LANES)
gradient_transform = transform("winograd_gradient", maps.gradient, LANES)
transform_back = output_transform("winograd_output", LANES)
turn_block = transposed_block("winograd_turn", LANES, LANES)
full_tile, full_middle, full_low = [near_tile(f"near_{rows}", rows, VECTORS, LANES) for rows in (TILE, MIDDLE, LOW)]
half_tile, half_middle, half_low = [near_tile(f"near_half_{rows}", rows, NARROW, LANES) for rows in (TALL, MIDDLE, LOW)]


# ---- filters -----------------------------------------------------------------------------------------------------
MADE = f"panels: F[{PANELS}, 16, J, PANEL]"
call(f"winograd_filters(weight: f32[KH, KW, J, G, N] -> {MADE})", over=f"{PANELS} * J", flops="44 * J * N")
call(f"winograd_filters_turned(weight: f32[KH, KW, N, G, J] -> {MADE}; work: F[{PANELS}, KH * KW, J, PANEL])", over=PANELS,
     flops="44 * J * N")


@helper
def clear_columns(panels, panel, j, n):
    for f in range(16):
        for i in range(n, PANEL):
            panels[panel, f, j, i] = ZERO


@kernel
def winograd_filters(weight, panels, begin, end):
    _, _, J, _, N = weight.shape
    for item in range(begin, end):
        panel, j = item // J, item % J
        n = min(PANEL, N - panel * PANEL)
        filter_transform(weight, j * N + panel * PANEL, 3 * J * N, J * N, 0, 3, 0, 3, n, panels, 0, (panel * 16 * J + j) * PANEL,
                         4 * J * PANEL, J * PANEL)
        clear_columns(panels, panel, j, n)


@kernel
def winograd_filters_turned(weight, panels, work, begin, end):
    """Turned by half a turn, channels in and out exchanged."""
    _, _, N, _, J = weight.shape
    for panel in range(begin, end):
        n = min(PANEL, N - panel * PANEL)
        at = panel * 9 * J * PANEL
        for tap in range(9):
            for i in range(0, n, LANES):
                for j in range(0, J, LANES):
                    turn_block(weight, ((8 - tap) * N + panel * PANEL + i) * J + j, J, work, at + (tap * J + j) * PANEL + i, PANEL)
        for j in range(J):
            filter_transform(work, at + j * PANEL, 3 * J * PANEL, J * PANEL, 0, 3, 0, 3, n, panels, 0, (panel * 16 * J + j) * PANEL,
                             4 * J * PANEL, J * PANEL)
            clear_columns(panels, panel, j, n)


# ---- products ----------------------------------------------------------------------------------------------------
@helper
def multiply_wide(depth, work, a, a_row, a_col, b, b_at, b_row, c, ldc, rows, mode):
    """rows x PANEL of a product, of work into work; rows: a multiple of LOW."""
    i = 0
    while i < rows:
        left, a_at, c_at = rows - i, a + i * a_row, c + i * ldc
        if left >= TILE and (left != TILE + LOW or TILE + LOW != 2 * MIDDLE):
            full_tile(depth, work, a_at, a_row, a_col, b, b_at, b_row, work, c_at, ldc, mode)
            i += TILE
        elif left >= MIDDLE:
            full_middle(depth, work, a_at, a_row, a_col, b, b_at, b_row, work, c_at, ldc, mode)
            i += MIDDLE
        else:
            full_low(depth, work, a_at, a_row, a_col, b, b_at, b_row, work, c_at, ldc, mode)
            i += LOW


@helper
def multiply_narrow(depth, work, a, a_row, a_col, b, b_at, b_row, c, ldc, rows, mode):
    """The same of NARROW * LANES columns."""
    i = 0
    while i < rows:
        left, a_at, c_at = rows - i, a + i * a_row, c + i * ldc
        if left >= TALL:
            half_tile(depth, work, a_at, a_row, a_col, b, b_at, b_row, work, c_at, ldc, mode)
            i += TALL
        elif left >= MIDDLE:
            half_middle(depth, work, a_at, a_row, a_col, b, b_at, b_row, work, c_at, ldc, mode)
            i += MIDDLE
        else:
            half_low(depth, work, a_at, a_row, a_col, b, b_at, b_row, work, c_at, ldc, mode)
            i += LOW


@helper
def multiply(depth, work, a, a_row, a_col, b, b_at, b_row, c, ldc, rows, n, mode):
    """rows x n of a product, and columns up to the next whole number of registers, which mean nothing."""
    if n > NARROW * LANES:
        multiply_wide(depth, work, a, a_row, a_col, b, b_at, b_row, c, ldc, rows, mode)
    else:
        multiply_narrow(depth, work, a, a_row, a_col, b, b_at, b_row, c, ldc, rows, mode)


@helper
def image_tiles(x, first, count, width, columns, per_image, top, left, J, work, zeros, at, apart):
    """V of `count` tiles from `first` on, to work[at + f * apart + tile * J]."""
    _, H, C = x.shape
    image, place = first // per_image, first % per_image
    wide = (width + 1) // 2
    q, r = place // wide, place % wide
    for t in range(count):
        y, z = 2 * q - top, 2 * r - left
        image_transform(x, (image * H + y) * C + z * J, C, J, -y, H - y, -z, columns - z, J, work, zeros, at + t * J, 4 * apart,
                        apart)
        r += 1
        if r == wide:
            r, q = 0, q + 1
            if q * wide == per_image:
                q, image = 0, image + 1


# ---- forward, and backward by the image --------------------------------------------------------------------------
@helper
def tiles_back(work, zeros, at, apart, first, count, height, width, per_image, out, column, n, bias, more, mode, activation,
               parameter):
    """The places of `count` tiles, of n channels from `column` on."""
    C = out.shape[1]
    image, place = first // per_image, first % per_image
    wide = (width + 1) // 2
    q, r = place // wide, place % wide
    for t in range(count):
        row = (image * height + 2 * q) * width + 2 * r
        rows, columns = height - 2 * q, min(2, width - 2 * r)
        transform_back(work, at + t * PANEL, 4 * apart, apart, rows, columns, n, out, zeros, row * C + column, width * C, C, bias,
                       column, more, mode)
        if activation > RELU:
            for i in range(min(2, rows)):
                activate(out, row + i * width, columns, column, n, activation, parameter)
        r += 1
        if r == wide:
            r, q = 0, q + 1
            if q * wide == per_image:
                q, image = 0, image + 1


@helper
def blocks(first, last, p0, p1, x, panels, work, zeros, height, width, columns, per_image, top, left, out, bias, more, mode,
           activation, parameter):
    """Tiles first to last, of the channels of panels p0 to p1."""
    _, _, J, _ = panels.shape
    N = out.shape[1]
    at, apart, back = zeros + J + PANEL, BLOCK * J + GAP, BLOCK * PANEL + GAP
    made = at + 16 * apart
    t = first
    while t < last:
        count = min(BLOCK, last - t)
        image_tiles(x, t, count, width, columns, per_image, top, left, J, work, zeros, at, apart)
        for panel in range(p0, p1):
            n = min(PANEL, N - panel * PANEL)
            for f in range(16):
                multiply(J, work, at + f * apart, J, 1, panels, (panel * 16 + f) * J * PANEL, PANEL, made + f * back, PANEL,
                         (count + UNIT - 1) // UNIT * UNIT, n, 0)
            tiles_back(work, zeros, made, back, t, count, height, width, per_image, out, panel * PANEL, n, bias, more, mode,
                       activation, parameter)
        t += count


@helper
def convolution(begin, end, x, panels, work, height, width, columns, top, left, out, bias, more, mode, activation, parameter):
    """Shares begin to end: of the tiles, or where these are few, of the panels of channels and then of the tiles."""
    P, _, J, _ = panels.shape
    per_image = ((height + 1) // 2) * ((width + 1) // 2)
    total = x.shape[0] * per_image
    units = (total + UNIT - 1) // UNIT
    zeros = begin * (J + PANEL + 16 * (BLOCK * (J + PANEL) + 2 * GAP))
    for i in range(J + PANEL):
        work[zeros + i] = ZERO
    if total > FEW:
        blocks(units * begin // SHARES * UNIT, min(total, units * end // SHARES * UNIT), 0, P, x, panels, work, zeros, height,
               width, columns, per_image, top, left, out, bias, more, mode, activation, parameter)
        return
    item = begin * P
    while item < end * P:
        panel, share = item // SHARES, item % SHARES
        last = min(SHARES, share + end * P - item)
        blocks(units * share // SHARES * UNIT, min(total, units * last // SHARES * UNIT), panel, panel + 1, x, panels, work, zeros,
               height, width, columns, per_image, top, left, out, bias, more, mode, activation, parameter)
        item += last - share


ROOM = f"work: F[{SHARES} * (J + PANEL + 16 * ({SOME} * (J + PANEL) + {2 * GAP}))]"
READ = f"x: F[B, H, W * G * J], panels: F[{PANELS}, 16, J, PANEL]"
FLOPS = "8 * M * J * N + 8 * M * (J + N)"
call(f"winograd({READ}, {GEOMETRY} -> +out: F[M, G * N]; {ROOM})", over=str(SHARES), flops=FLOPS)
call(f"winograd_all({READ}, bias: f32[G * N]?, residual: F[M, G * N]?, {GEOMETRY}, activation: i64, parameter: f32"
     f" -> out: F[M, G * N]; {ROOM})", over=str(SHARES), flops=FLOPS)


@kernel
def winograd(x, panels, work, height, width, columns, top, left, out, begin, end, add_out):
    convolution(begin, end, x, panels, work, height, width, columns, top, left, out, work, out, ADD if add_out else 0, NONE, ZERO)


@kernel
def winograd_all(x, panels, bias, residual, work, height, width, columns, top, left, activation, parameter, out, begin, end):
    mode = (BIAS if bias.shape[0] > 0 else 0) | (ADD if residual.shape[0] > 0 else 0) | (AT_LEAST_0 if activation == RELU else 0)
    convolution(begin, end, x, panels, work, height, width, columns, top, left, out, bias, residual, mode, activation, parameter)


lowered("conv2d", "winograd_filters(weight -> panels)", f"winograd(x, panels, {PLACES} -> out)", when=FITS)
lowered("conv2d_forward", "winograd_filters(weight -> panels)",
        f"winograd_all(x, panels, bias, residual, {PLACES}, activation, parameter -> out)", when=FITS)
lowered("conv2d_data", "winograd_filters_turned(weight -> panels)", f"winograd(x, panels, {PLACES} -> out)", when=FITS)


# ---- backward by the weights -------------------------------------------------------------------------------------
@helper
def arrived_tiles(dout, first, count, height, width, per_image, work, zeros, at, apart, across):
    """AyA' of what arrived at `count` tiles, to work[at + f * apart + tile * across]."""
    C = dout.shape[1]
    image, place = first // per_image, first % per_image
    wide = (width + 1) // 2
    q, r = place // wide, place % wide
    for t in range(count):
        row = (image * height + 2 * q) * width + 2 * r
        arrived_transform(dout, row * C, width * C, C, 0, height - 2 * q, 0, width - 2 * r, C, work, zeros, at + t * across,
                          4 * apart, apart)
        r += 1
        if r == wide:
            r, q = 0, q + 1
            if q * wide == per_image:
                q, image = 0, image + 1


# shared by an expression, not by PARTS, so that `parts` arrives whole
call(f"winograd_weights(x: F[B, H, W * G * J], dout: F[M, G * N], channels: i64, {GEOMETRY}"
     " -> parts: F[PARTS, KH * KW * J * G * N];"
     f" work: F[PARTS * (J + N + 16 * ({DEEP} * J + ({DEEP} + J) * {PANELS} * PANEL + {3 * GAP}))])", over="PARTS * 1",
     flops=FLOPS)


@kernel
def winograd_weights(x, dout, channels, height, width, columns, top, left, parts, work, begin, end):
    B, J = x.shape[0], channels
    N, count = dout.shape[1], parts.shape[0]
    across = (N + PANEL - 1) // PANEL * PANEL
    per_image = ((height + 1) // 2) * ((width + 1) // 2)
    total = B * per_image
    zeros = begin * (J + N + 16 * (DEEP * J + (DEEP + J) * across + 3 * GAP))
    for i in range(J + N):
        work[zeros + i] = ZERO
    apart, beside, whole = DEEP * J + GAP, DEEP * across + GAP, J * across + GAP
    at = zeros + J + N
    dout_at = at + 16 * apart
    sums = dout_at + 16 * beside
    for part in range(begin, end):
        first, last = total * part // count, total * (part + 1) // count
        t = first
        while t < last or t == first:
            some = min(DEEP, last - t)
            image_tiles(x, t, some, width, columns, per_image, top, left, J, work, zeros, at, apart)
            arrived_tiles(dout, t, some, height, width, per_image, work, zeros, dout_at, beside, across)
            for f in range(16):
                for column in range(0, N, PANEL):
                    multiply(some, work, at + f * apart, 1, J, work, dout_at + f * beside + column, across,
                             sums + f * whole + column, across, J, min(PANEL, N - column), ADD if t > first else 0)
            t += DEEP
        for j in range(J):
            gradient_transform(work, sums + j * across, 4 * whole, whole, 0, 4, 0, 4, N, parts, 0,
                               part * parts.shape[1] + j * N, 3 * J * N, J * N)


lowered("conv2d_weight", f"winograd_weights(x, dout, J, {PLACES} -> parts)", "add_parts(parts -> dweight)",
        when=f"{FITS} and J * N <= 16384 and B * height * width >= 128 * PARTS")
