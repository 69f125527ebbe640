"""Tiles of products that are not large, from slices of K (`cuda_slices`) that lie in shared memory in three stages.

`sliced_tile`: each warp of a block makes the whole tile from slices of its own, of w warps every w-th, and what the warps have
found is summed in their order.  A product of few tiles is bound by how long its slices take one after the other, not by how many
there are: eight warps have 16 slices on their way, and none waits for another until the end ("sliced K" of CUTLASS's "Efficient
GEMM in CUDA", here with no barrier in the loop).  `shared_tile`: four warps share the slices of a tile of 64 by 64.
"""

import numpy as np

from dlcore.compiler.cuda.intrinsics import cuda, f32, shared_address, u32
from dlcore.compiler.cuda.vectors import await_copies_but_1, close_copies
from dlcore.compiler.language import helper
from dlcore.ops.matmul.cuda_lanes import float_product, load_shared_f32
from dlcore.ops.matmul.cuda_large import whole_vectors
from dlcore.ops.matmul.cuda_slices import DEPTH, operand
from dlcore.ops.matmul.cuda_tiles import activated

ZERO = np.float32(0)


def sliced_tile(side, warps, a_along, b_along, product=float_product):
    """sums(thread, m0, n0, start, stop, a, b): where in shared memory is what the block's warps have found, see `epilogue`.

    side: of the tile, 16 or 32.  a_along, b_along: do the operand's rows run along K?"""
    half, stage, pitch = 64 * side, 128 * side, 4 * (side + 4)
    words, share = warps * 3 * stage // 4, 3 * stage
    shape, multiply, put, mixed = product(side, a_along, b_along)
    start_a, bring_a = operand(side, a_along, warps, mixed)
    start_b, bring_b = operand(side, b_along, warps, mixed)
    rows, columns = shape

    @helper
    def sums(thread, m0, n0, start, stop, a, b):
        shared = cuda.shared.array(words, u32, alignment=16)
        acc = cuda.local.array(shape, f32)
        for i in range(rows):
            for j in range(columns):
                acc[i, j] = ZERO
        warp, of_warp = thread >> 5, thread & 31
        lane, base = u32(of_warp), shared_address(shared) + u32(warp) * u32(share)
        wide_a, wide_b = whole_vectors(a), whole_vectors(b)
        first = start + DEPTH * warp
        from_a, step_a, pitch_a, there_a = start_a(a, wide_a, m0, first, of_warp)
        from_b, step_b, pitch_b, there_b = start_b(b, wide_b, n0, first, of_warp)
        for s in range(2):
            k = first + s * (warps * DEPTH)
            if k < stop:
                left, tile = u32(min(stop - k, DEPTH)), base + u32(s) * u32(stage)
                bring_a(tile, from_a, pitch_a, wide_a, there_a, left, lane)
                bring_b(tile + u32(half), from_b, pitch_b, wide_b, there_b, left, lane)
            close_copies()
            from_a, from_b = from_a + step_a, from_b + step_b
        tile, free = base, base + u32(2 * stage)        # the stage that is multiplied, and that which was before it
        for k in range(first, stop, warps * DEPTH):
            await_copies_but_1()
            cuda.syncwarp()
            ahead = k + 2 * warps * DEPTH
            if ahead < stop:
                left = u32(min(stop - ahead, DEPTH))
                bring_a(free, from_a, pitch_a, wide_a, there_a, left, lane)
                bring_b(free + u32(half), from_b, pitch_b, wide_b, there_b, left, lane)
            close_copies()
            from_a, from_b = from_a + step_a, from_b + step_b
            multiply(acc, tile, tile + u32(half), lane)
            free = tile
            tile = tile + u32(stage) if tile - base < u32(2 * stage) else base
        cuda.syncwarp()
        put(acc, base, pitch, lane)
        cuda.syncthreads()
        return shared_address(shared)

    return sums


def shared_tile(a_along, b_along):
    """The same of a tile of 64 by 64 by four warps, each of which makes 32 by 32 of it from slices that they share, and copies half
    of one operand; one barrier a slice."""
    start_a, bring_a = operand(32, a_along, 1, False)
    start_b, bring_b = operand(32, b_along, 1, False)
    shape, multiply, put, _ = float_product(32, a_along, b_along)
    rows, columns = shape

    @helper
    def bring(tile, warp, source, pitch, wide, there, k, stop, lane):
        if k < stop:
            left, place = u32(min(stop - k, DEPTH)), tile + u32(warp) * u32(2048)
            if warp < 2:
                bring_a(place, source, pitch, wide, there, left, lane)
            else:
                bring_b(place, source, pitch, wide, there, left, lane)
        close_copies()

    @helper
    def sums(thread, m0, n0, start, stop, a, b):
        shared = cuda.shared.array(6144, u32, alignment=16)         # three stages of 8 KiB
        acc = cuda.local.array(shape, f32)
        for i in range(rows):
            for j in range(columns):
                acc[i, j] = ZERO
        warp, of_warp = thread >> 5, thread & 31
        lane, base = u32(of_warp), shared_address(shared)
        wide = whole_vectors(a) if warp < 2 else whole_vectors(b)
        if warp < 2:
            source, step, pitch, there = start_a(a, wide, m0 + 32 * warp, start, of_warp)
        else:
            source, step, pitch, there = start_b(b, wide, n0 + 32 * (warp - 2), start, of_warp)
        bring(base, warp, source, pitch, wide, there, start, stop, lane)
        bring(base + u32(8192), warp, source + step, pitch, wide, there, start + DEPTH, stop, lane)
        source = source + step + step
        left, right = u32(warp >> 1) * u32(2048), u32(4096) + u32(warp & 1) * u32(2048)
        tile, free = base, base + u32(16384)
        for k in range(start, stop, DEPTH):
            await_copies_but_1()
            cuda.syncthreads()
            bring(free, warp, source, pitch, wide, there, k + 2 * DEPTH, stop, lane)
            source = source + step
            multiply(acc, tile + left, tile + right, lane)
            free = tile
            tile = tile + u32(8192) if tile - base < u32(16384) else base
        cuda.syncthreads()
        put(acc, base + u32(warp >> 1) * u32(32 * 272) + u32(warp & 1) * u32(128), 272, lane)
        cuda.syncthreads()
        return base

    return sums


def epilogue(side, warps, threads):
    """(write_added, write_activated): the tile of a block of so many threads, `warps` of which have sums of all of it, into
    out [M, N]."""
    share, pitch, shift = 3 * 128 * side, 4 * (side + 4), {16: 4, 32: 5, 64: 6}[side]

    @helper
    def total(found, m, n):
        """The tile's element (m, n): what the warps have found, in their order."""
        at = found + u32(m) * u32(pitch) + u32(n) * u32(4)
        value = load_shared_f32(at)
        for w in range(1, warps):
            value += load_shared_f32(at + u32(share) * u32(w))
        return value

    @helper
    def write_added(found, thread, m0, n0, out, add):
        M, N = out.shape
        for t in range(thread, side * side, threads):
            m, n = m0 + (t >> shift), n0 + (t & (side - 1))
            if m < M and n < N:
                out[m, n] = total(found, m - m0, n - n0) + (out[m, n] if add else ZERO)

    @helper
    def write_activated(found, thread, m0, n0, out, bias, activation, parameter):
        """f(tile + bias); an absent bias has length 0."""
        M, N = out.shape
        for t in range(thread, side * side, threads):
            m, n = m0 + (t >> shift), n0 + (t & (side - 1))
            if m < M and n < N:
                value = total(found, m - m0, n - n0) + (bias[n] if bias.shape[0] > 0 else ZERO)
                out[m, n] = activated(value, activation, parameter)

    return write_added, write_activated
