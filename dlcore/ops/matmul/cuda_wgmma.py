"""Large bf16 products on the tensor cores of Hopper (sm_90a): `wgmma`, whose operands lie in shared memory.

As `cuda_panels`: a block of 256 threads makes 128 by 128, 32 of K at a time, in three stages of `cp.async`.  Each of its two
warpgroups has 64 rows, and reads both operands by descriptors: no fragment passes through registers.  An operand whose rows run
along K lies in rows of 64 bytes, swizzled within 512 (its 16 bytes by bits 1 and 2 of the row's number); one whose rows run across
K lies in two blocks of 64 columns, in rows of 128 bytes swizzled within 1,024.  Copies are made by the threads, products read by
another way to the same memory: a fence shows what was written, before the barrier.

Source: NVIDIA, Parallel Thread Execution ISA, chapter Asynchronous Warpgroup Level Matrix Instructions.
"""

import numpy as np

from dlcore.compiler.cuda.intrinsics import (
    cuda,
    f32,
    no_sums,
    shared_address,
    show_to_products,
    spread,
    u32,
    u64,
    warpgroup_close,
    warpgroup_fence,
    warpgroup_product,
    warpgroup_wait,
)
from dlcore.compiler.cuda.vectors import address_of, await_copies_but_1, close_copies, copy_16
from dlcore.compiler.language import helper
from dlcore.ops.matmul.cuda_panels import DEPTH, bring_along
from dlcore.ops.matmul.cuda_stages import HALF, SIDE
from dlcore.ops.matmul.cuda_tiles import activated

ZERO = np.float32(0)


@helper
def bring_blocks(tile, x, column, k, stop, thread):
    """32 rows, 128 columns of x, whose rows run across K, in two blocks of 64 columns."""
    pitch, chunk = x.shape[1], thread & 15
    for n in range(2):
        r = (thread >> 4) + 16 * n
        there = k + r < stop and column + 8 * chunk < pitch
        source = address_of(x) + (u64(2) * u64((k + r) * pitch + column + 8 * chunk) if there else u64(0))
        place = u32(chunk >> 3) * u32(4096) + u32(r) * u32(128) + (((u32(chunk) & u32(7)) ^ (u32(r) & u32(7))) << u32(4))
        copy_16(tile + place, source, u32(16) if there else u32(0))


@helper
def described_along(at):
    """64-byte swizzle; 512 bytes from 8 rows to the next."""
    return (u64(1) << u64(63)) | (u64(32) << u64(32)) | (u64(1) << u64(16)) | u64((at & u32(0x3FFFF)) >> u32(4))


@helper
def described_across(at):
    """128-byte swizzle; 4,096 bytes from 64 columns to the next, 1,024 from 8 of K to the next."""
    return (u64(1) << u64(62)) | (u64(64) << u64(32)) | (u64(256) << u64(16)) | u64((at & u32(0x3FFFF)) >> u32(4))


def warpgroup_tile(a_along, b_along):
    """sums(thread, m0, n0, start, stop, a, b): the product over K from start to stop, as `panel_tile`; 64 numbers of a thread."""
    bring_a, bring_b = bring_along if a_along else bring_blocks, bring_along if b_along else bring_blocks
    described_a, described_b = described_along if a_along else described_across, described_along if b_along else described_across
    step_a, step_b = 2 if a_along else 128, 2 if b_along else 128           # 16 of K, in 16 bytes
    product = warpgroup_product(not a_along, not b_along)

    @helper
    def bring(tile, m0, n0, k, stop, a, b, thread):
        if k < stop:
            bring_a(tile, a, m0, k, stop if not a_along else a.shape[1], thread)
            bring_b(tile + u32(HALF), b, n0, k, stop if not b_along else b.shape[1], thread)
        close_copies()

    @helper
    def sums(thread, m0, n0, start, stop, a, b):
        shared = cuda.shared.array(12288, u32, alignment=1024)      # three stages
        base, group = shared_address(shared), u32(thread >> 7)
        bring(base, m0, n0, start, stop, a, b, thread)
        bring(base + u32(2 * HALF), m0, n0, start + DEPTH, stop, a, b, thread)
        acc = no_sums()
        tile, free = base, base + u32(4 * HALF)
        for k in range(start, stop, DEPTH):
            await_copies_but_1()
            show_to_products()
            cuda.syncthreads()
            bring(free, m0, n0, k + 2 * DEPTH, stop, a, b, thread)
            left, right = described_a(tile + group * u32(4096)), described_b(tile + u32(HALF))
            acc = warpgroup_fence(acc)
            acc = product(acc, left, right)
            acc = product(acc, left + u64(step_a), right + u64(step_b))
            warpgroup_close()
            acc = warpgroup_wait(acc)
            free = tile
            tile = tile + u32(2 * HALF) if tile - base < u32(4 * HALF) else base
        return acc

    return sums


@helper
def write_columns(acc, q, thread, m0, n0, out, add):
    """The q-th 32 columns: of each 8, a thread has two neighbours in a row and in that 8 further on."""
    M, N = out.shape
    lane, warp = thread & 31, thread >> 5
    m, n = m0 + 16 * warp + (lane >> 2), n0 + 32 * q + (lane & 3) * 2
    for j in range(4):
        for r in range(4):
            row, column = m + (8 if r > 1 else 0), n + 8 * j + (r & 1)
            if row < M and column < N:
                out[row, column] = acc[16 * q + 4 * j + r] + (out[row, column] if add else ZERO)


@helper
def write_added(sums, thread, m0, n0, out, add):
    """The tile into out [M, N], or onto what is there.  Spelt out, so that acc stays in registers."""
    acc = cuda.local.array(64, f32)
    spread(sums, acc)
    write_columns(acc, 0, thread, m0, n0, out, add)
    write_columns(acc, 1, thread, m0, n0, out, add)
    write_columns(acc, 2, thread, m0, n0, out, add)
    write_columns(acc, 3, thread, m0, n0, out, add)


@helper
def write_activated(sums, thread, m0, n0, out, bias, activation, parameter):
    """f(tile + bias); an absent bias has length 0."""
    M, N = out.shape
    write_added(sums, thread, m0, n0, out, False)
    cuda.syncthreads()
    for t in range(thread, SIDE * SIDE, 256):
        m, n = m0 + (t >> 7), n0 + (t & 127)
        if m < M and n < N:
            out[m, n] = activated(out[m, n] + (bias[n] if bias.shape[0] > 0 else ZERO), activation, parameter)
