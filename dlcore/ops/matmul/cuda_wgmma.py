"""Large bf16 products on the tensor cores of Hopper (sm_90a): `wgmma` on blocks that the bulk engine copies (`cuda_blocks`).

A block of 384 threads makes 192 by 256 of the result: each of its three warpgroups 64 rows, 128 sums a thread.  64 of K are a
stage of 56 KiB, of which three are in shared memory: one is multiplied, one was, and one is on its way.  A larger tile reads less
from the second-level cache for each product, which is what limits smaller ones.  Some threads ask for a stage, one for each 64
rows; whoever reads it waits for its barrier, which counts bytes.  It is asked for again once all warpgroups have waited for the
products that read it, which the barrier of the block says.

Source: NVIDIA, Parallel Thread Execution ISA, chapter Asynchronous Warpgroup Level Matrix Instructions.
"""

import numpy as np

from dlcore.compiler.cuda.hopper import (
    announce,
    await_phase,
    barrier_make,
    barriers_made,
    copy_bulk,
    no_sums,
    spread,
    warpgroup_close,
    warpgroup_fence,
    warpgroup_product,
    warpgroup_wait,
    warpgroup_wait_but_1,
)
from dlcore.compiler.cuda.intrinsics import cuda, f32, i64, shared_address, u32, u64
from dlcore.compiler.cuda.vectors import address_of, load_2, store_2
from dlcore.compiler.language import helper
from dlcore.ops.matmul import NONE
from dlcore.ops.matmul.cuda_tiles import activated

ROWS, COLUMNS, THREADS = 192, 256, 384
STAGES, HALF, LEFT, STAGE = 3, 8192, 24576, 57344       # bytes of 64 rows of an operand in a stage, of the left one, of both
SHARED = STAGES * STAGE + 1024 + 64             # and what it takes to begin at a multiple of 1,024, and barriers
GROUP = 10                                      # rows of tiles that follow one another: what they read stays in the cache
ZERO = np.float32(0)


@helper
def corner(item, M, N):
    """The first row and column of a tile, tiles in groups of GROUP rows."""
    rows, columns = (M + ROWS - 1) // ROWS, (N + COLUMNS - 1) // COLUMNS
    first = item // (GROUP * columns) * GROUP
    height, place = min(rows - first, i64(GROUP)), item % (GROUP * columns)
    return (first + place % height) * ROWS, place // height * COLUMNS


# ---- memory to shared memory: the n-th 64 rows of an operand, the k-th 64 of K -----------------------------------
@helper
def half_along(x, row, k, n):
    """The address of half a block, rows running along K; beyond the matrix that of its last, for no sum that is written."""
    half = min((row >> 6) + n, 2 * x.shape[0] - 1)
    return address_of(x) + u64((half >> 1) * x.shape[1] + k) * u64(2 * HALF) + u64((half & 1) * HALF)


@helper
def half_across(x, column, k, n):
    """The same, rows running across K."""
    block = (k >> 1) * x.shape[1] + min((column >> 6) + n, x.shape[1] - 1)
    return address_of(x) + u64(block) * u64(2 * HALF) + u64((k & 1) * HALF)


@helper
def described_along(at):
    """128-byte swizzle; 1,024 bytes from 8 rows to the next."""
    return (u64(1) << u64(62)) | (u64(64) << u64(32)) | (u64(1) << u64(16)) | u64((at & u32(0x3FFFF)) >> u32(4))


@helper
def described_across(at):
    """128-byte swizzle; 8,192 bytes from 64 columns to the next, 1,024 from 8 of K to the next."""
    return (u64(1) << u64(62)) | (u64(64) << u64(32)) | (u64(512) << u64(16)) | u64((at & u32(0x3FFFF)) >> u32(4))


def warpgroup_tile(a_along, b_along):
    """sums(thread, m0, n0, start, stop, a, b): the product over the 64s of K from start to stop; 128 numbers of a thread."""
    half_a, half_b = half_along if a_along else half_across, half_along if b_along else half_across
    described_a, described_b = described_along if a_along else described_across, described_along if b_along else described_across
    step_a, step_b = 2 if a_along else 128, 2 if b_along else 128           # 16 of K, in 16 bytes
    product = warpgroup_product(not a_along, not b_along)

    @helper
    def ask(thread, at, stages, barriers, m0, n0, k, a, b):
        """For the k-th 64 of K, into stage `at`: a thread for each half of a block, so that none needs many registers."""
        stage, barrier = stages + at * u32(STAGE), barriers + at * u32(8)
        if thread == 0:
            announce(barrier, u32(STAGE))
        if thread < ROWS // 64:
            copy_bulk(stage + u32(thread) * u32(HALF), half_a(a, m0, k, thread), u32(HALF), barrier)
        elif thread < (ROWS + COLUMNS) // 64:
            copy_bulk(stage + u32(thread) * u32(HALF), half_b(b, n0, k, thread - ROWS // 64), u32(HALF), barrier)

    @helper
    def sums(thread, m0, n0, start, stop, a, b):
        barriers = shared_address(cuda.shared.array(0, u32))
        stages, group, count = (barriers + u32(64 + 1023)) & u32(0xFFFFFC00), u32(thread >> 7), stop - start
        if thread == 0:
            for n in range(STAGES):
                barrier_make(barriers + u32(8 * n), u32(1))
            barriers_made()
        cuda.syncthreads()
        for n in range(min(count, i64(STAGES - 1))):
            ask(thread, u32(n), stages, barriers, m0, n0, start + n, a, b)
        cuda.syncthreads()
        acc, at, free, parity = no_sums(), u32(0), u32(STAGES - 1), u32(0)
        for n in range(count):
            await_phase(barriers + at * u32(8), parity)
            stage = stages + at * u32(STAGE)
            left, right = described_a(stage + group * u32(HALF)), described_b(stage + u32(LEFT))
            acc = warpgroup_fence(acc)
            acc = product(acc, left, right)
            acc = product(acc, left + u64(step_a), right + u64(step_b))
            acc = product(acc, left + u64(2 * step_a), right + u64(2 * step_b))
            acc = product(acc, left + u64(3 * step_a), right + u64(3 * step_b))
            warpgroup_close()
            acc = warpgroup_wait_but_1(acc)
            cuda.syncthreads()
            if n + STAGES - 1 < count:
                ask(thread, free, stages, barriers, m0, n0, start + n + STAGES - 1, a, b)
            free = at
            at = at + u32(1) if at < u32(STAGES - 1) else u32(0)
            parity = parity ^ u32(1) if at == u32(0) else parity
        return warpgroup_wait(acc)

    return sums


# ---- sums to memory ----------------------------------------------------------------------------------------------
@helper
def put_two(out, row, column, x, y, add):
    """Two neighbours of a row; column is even."""
    M, N = out.shape
    if row < M and column < N:
        if N & 1 == 0 and address_of(out) & u64(7) == u64(0):
            at = address_of(out) + u64(4) * u64(row * N + column)
            if add:
                old = load_2(at)
                x, y = x + old[0], y + old[1]
            store_2(at, x, y)
        else:
            out[row, column] = x + (out[row, column] if add else ZERO)
            if column + 1 < N:
                out[row, column + 1] = y + (out[row, column + 1] if add else ZERO)


@helper
def write_columns(acc, q, thread, m0, n0, out, bias, add):
    """The q-th 32 columns: of each 8, a thread has two neighbours in a row and in that 8 further on."""
    lane, warp, N = thread & 31, thread >> 5, out.shape[1]
    m, n = m0 + 16 * warp + (lane >> 2), n0 + 32 * q + (lane & 3) * 2
    for j in range(4):
        column, x, y = n + 8 * j, ZERO, ZERO
        if bias.shape[0] > 0:
            x, y = bias[column] if column < N else ZERO, bias[column + 1] if column + 1 < N else ZERO
        put_two(out, m, column, acc[16 * q + 4 * j] + x, acc[16 * q + 4 * j + 1] + y, add)
        put_two(out, m + 8, column, acc[16 * q + 4 * j + 2] + x, acc[16 * q + 4 * j + 3] + y, add)


@helper
def store_columns(acc, q, at, pitch, bias, n):
    """`write_columns` of a tile that lies whole in a matrix of even rows, and is not added; at: the thread's first address."""
    for j in range(4):
        x, y = ZERO, ZERO
        if bias.shape[0] > 0:
            x, y = bias[n + 32 * q + 8 * j], bias[n + 32 * q + 8 * j + 1]
        store_2(at + u64(128 * q + 32 * j), acc[16 * q + 4 * j] + x, acc[16 * q + 4 * j + 1] + y)
        store_2(at + u64(128 * q + 32 * j) + pitch, acc[16 * q + 4 * j + 2] + x, acc[16 * q + 4 * j + 3] + y)


@helper
def store_whole(acc, thread, m0, n0, out, bias):
    lane, N = thread & 31, out.shape[1]
    m, n = m0 + 16 * (thread >> 5) + (lane >> 2), n0 + (lane & 3) * 2
    at, pitch = address_of(out) + u64(4) * u64(m * N + n), u64(32 * N)
    store_columns(acc, 0, at, pitch, bias, n)
    store_columns(acc, 1, at, pitch, bias, n)
    store_columns(acc, 2, at, pitch, bias, n)
    store_columns(acc, 3, at, pitch, bias, n)
    store_columns(acc, 4, at, pitch, bias, n)
    store_columns(acc, 5, at, pitch, bias, n)
    store_columns(acc, 6, at, pitch, bias, n)
    store_columns(acc, 7, at, pitch, bias, n)


@helper
def write_biased(sums, thread, m0, n0, out, bias, add):
    """The tile + bias into out [M, N], or onto what is there; an absent bias has length 0.  Spelt out, so that acc stays in
    registers."""
    acc, (M, N) = cuda.local.array(128, f32), out.shape
    spread(sums, acc)
    if not add and m0 + ROWS <= M and n0 + COLUMNS <= N and N & 1 == 0 and address_of(out) & u64(7) == u64(0):
        store_whole(acc, thread, m0, n0, out, bias)
        return
    write_columns(acc, 0, thread, m0, n0, out, bias, add)
    write_columns(acc, 1, thread, m0, n0, out, bias, add)
    write_columns(acc, 2, thread, m0, n0, out, bias, add)
    write_columns(acc, 3, thread, m0, n0, out, bias, add)
    write_columns(acc, 4, thread, m0, n0, out, bias, add)
    write_columns(acc, 5, thread, m0, n0, out, bias, add)
    write_columns(acc, 6, thread, m0, n0, out, bias, add)
    write_columns(acc, 7, thread, m0, n0, out, bias, add)


@helper
def write_added(sums, thread, m0, n0, out, add):
    write_biased(sums, thread, m0, n0, out, out[0, :0], add)


@helper
def write_activated(sums, thread, m0, n0, out, bias, activation, parameter):
    """f(tile + bias), f over the tile once it is written: the code of every f beside 128 sums would be too much."""
    M, N = out.shape
    write_biased(sums, thread, m0, n0, out, bias, False)
    if activation != NONE:
        cuda.syncthreads()
        for t in range(thread, ROWS * COLUMNS, THREADS):
            m, n = m0 + (t >> 8), n0 + (t & 255)
            if m < M and n < N:
                out[m, n] = activated(out[m, n], activation, parameter)
