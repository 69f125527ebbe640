"""Recurrent kernels for matrices that no registers hold: clusters of 8 blocks (Hopper) walk 8 sequences, each block with 64 units,
and read their share of the matrix from the second-level cache in each step, for all 8 sequences at once.

Forward a block has the columns of its units.  Four lanes share a unit: each multiplies every fourth element of the states, for
all gates and sequences, and ends with the sums of two sequences, 2 p and 2 p + 1.  Backward it has the same columns: 16 lanes
hold the gradients of its gates in registers, and give each unit of all blocks what these columns give to it; the block that has
the unit adds the parts in order.
"""

from types import SimpleNamespace

import numpy as np

from dlcore.compiler.cuda.intrinsics import asm_op, cuda, u32
from dlcore.compiler.cuda.vectors import load_shared_4
from dlcore.compiler.language import helper
from dlcore.ops.rnn.cuda_held import FULL, first_value, halve, store_remote

WIDTH, UNITS, CLUSTER, ROWS, THREADS = 512, 64, 8, 8, 256
BATCH = 4                               # elements of the state whose weights a thread reads at a time
LAUNCH = {"blocks": f"{CLUSTER} * ceil(B / {ROWS})", "block": THREADS}
OWN = {"arch": "sm_90a", "cluster": CLUSTER}
ZERO = np.float32(0)

store_remote_2 = asm_op(   # (address in this block's shared memory, block of the cluster, two values)
    "store_remote_2", "{ .reg .b32 a; mapa.shared::cluster.u32 a, $0, $1; st.shared::cluster.v2.f32 [a], {$2, $3}; }", "", "rrff"
)
load_shared_2 = asm_op("load_shared_2", "ld.shared.v2.f32 {$0,$1}, [$2];", "ff", "r")
store_shared_2 = asm_op("store_shared_f32_2", "st.shared.v2.f32 [$0], {$1,$2};", "", "rff")


@helper
def place_of(item, thread):
    """(first unit of the block, unit, first of two sequences, its number in the block)"""
    first, pair = item % CLUSTER * UNITS, (thread & 3) * 2
    return first, first + (thread >> 2), item // CLUSTER * ROWS + pair, pair


@helper
def is_live(b, j, mask, t, B, H):
    """Whether there are such a sequence and such a unit, and the step is no padding."""
    live = b < B and j < H
    if live and mask.shape[0] > 0:
        live = mask[b, t] != ZERO
    return live


@helper
def begin(states, h0, B, H, item, thread):
    """Both versions of the state, [unit, sequence]."""
    for n in range(thread, 2 * WIDTH * ROWS, THREADS):
        b, j = item // CLUSTER * ROWS + n % ROWS, n // ROWS
        states[n] = first_value(h0, b, j, b < B and j < H)


@helper
def put_state(at, one, two):
    for n in range(CLUSTER):
        store_remote_2(at, u32(n), one, two)


def forward(gates):
    """total(sums, u, at, thread, j): sums[q * gates + g] = the product of gate g of unit j with the state of sequence q of two."""
    GATES = gates

    @helper
    def fetch(w, u, k, column):
        H = u.shape[0]
        for i in range(BATCH):
            for g in range(GATES):
                value = ZERO
                if k + 4 * i < H:
                    value = u[k + 4 * i, column + g * H]
                w[i * GATES + g] = value

    @helper
    def total(sums, w, coming, u, at, thread, j):
        H, k = u.shape[0], thread & 3
        column = j if j < H else H - 1
        for n in range(ROWS * GATES):
            sums[n] = ZERO
        fetch(coming, u, k, column)
        for first in range(0, H, 4 * BATCH):
            for n in range(BATCH * GATES):
                w[n] = coming[n]
            fetch(coming, u, first + 4 * BATCH + k, column)
            state = at + u32(4 * ROWS) * u32(first + k)
            for i in range(BATCH):
                x, y = load_shared_4(state + u32(16 * ROWS * i)), load_shared_4(state + u32(16 * ROWS * i + 16))
                for g in range(GATES):
                    for r in range(4):
                        sums[r * GATES + g] += x[r] * w[i * GATES + g]
                        sums[(r + 4) * GATES + g] += y[r] * w[i * GATES + g]
        halve(sums, 4 * GATES, 2, thread)
        halve(sums, 2 * GATES, 1, thread)

    return total


def backward(gates):
    """give(..., u, gradients, received, first, rank, thread)   all units get what the block's gates, at `gradients`, give them
    received_of(received, unit, pair)   (of one sequence, of the next) what a unit of this block has got"""
    GATES = gates

    @helper
    def fetch(w, u, k, first, lane):
        H = u.shape[0]
        for g in range(GATES):
            for c in range(4):
                value, j = ZERO, first + lane + 16 * c
                if k < H and j < H:
                    value = u[k, g * H + j]
                w[4 * g + c] = value

    @helper
    def give(d, w, coming, sums, u, gradients, received, first, rank, thread):
        H, lane, k = u.shape[0], thread & 15, thread >> 4
        fetch(coming, u, k, first, lane)
        for n in range(4 * GATES):
            at = gradients + u32(4 * ROWS) * (u32(lane) + u32(n // 4 * UNITS + n % 4 * 16))
            x, y = load_shared_4(at), load_shared_4(at + u32(16))
            for r in range(4):
                d[n, r], d[n, r + 4] = x[r], y[r]
        for _ in range(0, H, 16):
            for n in range(4 * GATES):
                w[n] = coming[n]
            fetch(coming, u, k + 16, first, lane)
            for r in range(ROWS):
                sums[r] = ZERO
            for n in range(4 * GATES):
                for r in range(ROWS):
                    sums[r] += d[n, r] * w[n]
            halve(sums, 4, 8, thread)
            halve(sums, 2, 4, thread)
            halve(sums, 1, 2, thread)
            value = sums[0] + cuda.shfl_xor_sync(FULL, sums[0], 1)
            if lane & 1 == 0 and k < H:
                place = (rank * UNITS + k % UNITS) * ROWS + (lane >> 1)
                store_remote(received + u32(4) * u32(place), u32(k // UNITS), value)
            k += 16

    @helper
    def received_of(received, unit, pair):
        at = received + u32(4) * u32(unit * ROWS + pair)
        one, two = load_shared_2(at)
        for n in range(1, CLUSTER):
            x, y = load_shared_2(at + u32(4 * n * UNITS * ROWS))
            one, two = one + x, two + y
        return one, two

    return SimpleNamespace(give=give, received_of=received_of, held=(4 * GATES, ROWS), weights=4 * GATES)
