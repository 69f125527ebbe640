"""Recurrent kernels whose matrix stays in registers over all steps (Diamos et al., Persistent RNNs: stashing recurrent weights
on-chip, 2016).

A group of LANES = WIDTH / 16 neighbouring lanes has one unit of ROWS = LANES / 4 sequences, WIDTH being the greatest H.  Forward a
lane multiplies 16 elements of the state by their weights for all gates of its unit, backward as many gradients of gates by
their weights for a few units; sums are halved from lane to lane (each lane passes on the half that is the other's), until lane
4 r + g has that of gate g of sequence r.  There the rest of a step is computed, in registers.  What others need of it, the new
state or the gradients of gates, goes into shared memory, of which there are two versions, so that a step has one barrier.

A block has UNITS units.  Where these are not all, CLUSTER blocks share the units out, and each writes what it has found into the
shared memory of all: clusters are Hopper's, which see to it that their blocks run at the same time.  What memory has for the steps
to come is read ahead of them.
"""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from dlcore.compiler.cuda.intrinsics import asm_op, cuda, u32, u64
from dlcore.compiler.cuda.vectors import load_shared_4, store_shared_f32
from dlcore.compiler.language import helper
from dlcore.compiler.simd import bits_from_float, float_from_bits
from dlcore.ops.formulas import EXP_LOW, LN2_HIGH, LN2_LOW, LOG2E

FULL, ZERO, ONE = 0xFFFFFFFF, np.float32(0), np.float32(1)
TO_WHOLE = np.float32(1.5 * 2**23)      # added to a small number, leaves it rounded to a whole one in the last bits

reciprocal = asm_op("reciprocal", "rcp.approx.ftz.f32 $0, $1;", "f", "f", memory=False)     # within a unit in the last place
load_1 = asm_op("load_1", "ld.global.f32 $0, [$1];", "f", "l")
store_1 = asm_op("store_1", "st.global.f32 [$0], $1;", "", "lf")
cluster_arrive = asm_op("cluster_arrive", "barrier.cluster.arrive.release.aligned;", "", "")
cluster_wait = asm_op("cluster_wait", "barrier.cluster.wait.acquire.aligned;", "", "")
store_remote = asm_op(     # (address in this block's shared memory, block of the cluster, value)
    "store_remote", "{ .reg .b32 a; mapa.shared::cluster.u32 a, $0, $1; st.shared::cluster.f32 [a], $2; }", "", "rrf"
)


@dataclass(frozen=True)
class Shape:
    """width: the greatest H;  units: of a block;  cluster: its blocks;  together: units of which a lane has sums, backward."""

    width: int
    units: int
    cluster: int
    together: int

    @property
    def lanes(self) -> int:
        return self.width // 16

    @property
    def rows(self) -> int:
        return self.lanes // 4

    @property
    def threads(self) -> int:
        return self.units * self.lanes

    @property
    def blocks(self) -> str:
        return f"{self.cluster} * ceil(B / {self.rows})"

    @property
    def own(self) -> dict[str, Any]:
        """Which architecture its kernels are for; all, where a block has all units."""
        return {"arch": "sm_90a", "cluster": self.cluster} if self.cluster > 1 else {}

    @property
    def launch(self) -> dict[str, Any]:
        return {"blocks": self.blocks, "block": self.threads}


SHAPES = (Shape(64, 64, 1, 4), Shape(128, 32, 4, 4), Shape(256, 32, 8, 2))


@helper
def bounded(a, is_tanh):
    """tanh(a) or sigmoid(a) by the exponential of `ops/formulas.py`: of -2 |a| or -|a|, so that nothing overflows."""
    size = a if a > ZERO else -a
    c = -size - size if is_tanh else -size
    c = c if c > np.float32(EXP_LOW) else np.float32(EXP_LOW)
    shifted = c * np.float32(LOG2E) + TO_WHOLE
    n = shifted - TO_WHOLE
    r = c - n * np.float32(LN2_HIGH) - n * np.float32(LN2_LOW)
    p = np.float32(0.00019913613505195826)
    p = p * r + np.float32(0.0013941050274297595)
    p = p * r + np.float32(0.00833327416330576)
    p = p * r + np.float32(0.04166635498404503)
    p = p * r + np.float32(0.1666666716337204)
    p = p * r + np.float32(0.5)
    p = p * (r * r) + r
    scale = float_from_bits(np.int32((bits_from_float(shifted) << np.int32(23)) + np.int32(0x3F800000)))
    e, less_one = p * scale + scale, p * scale + (scale - ONE)
    whole = ONE + e
    top = -less_one if is_tanh else (ONE if a > ZERO else e)
    inverse = reciprocal(whole)
    y = top * inverse
    y = y + (top - whole * y) * inverse
    y = -y if is_tanh and a < ZERO else y
    return y if a == a else a


@helper
def halve(sums, count, distance, thread):
    """sums[:count] = the half of 2 * count sums that is this lane's, with what the lane at a distance has of it."""
    upper = thread & distance != 0
    for n in range(count):
        kept, given = (sums[n + count], sums[n]) if upper else (sums[n], sums[n + count])
        sums[n] = kept + cuda.shfl_xor_sync(FULL, given, distance)


@helper
def of_gate(value, gate, thread):
    """What the lane of another gate has, of the same unit and sequence."""
    return cuda.shfl_sync(FULL, value, (thread & 28) + gate)


@helper
def first_value(first, b, j, live):
    value = ZERO
    if live and first.shape[0] > 0:
        value = first[b, j]
    return value


@helper
def bytes_of(n):
    """So many floats, as a distance of addresses."""
    return u64(4 * n)


@helper
def read_at(at, wanted):
    value = ZERO
    if wanted:
        value = load_1(at)
    return value


@helper
def mask_at(at, masked, wanted):
    """Whether a step that comes is no padding."""
    value = wanted
    if wanted and masked:
        value = load_1(at) != ZERO
    return value


@helper
def before_at(first, b, j, at, s, live):
    """The state before step s, which after the first one is at an address."""
    value = ZERO
    if live and s > 0:
        value = load_1(at)
    elif s == 0:
        value = first_value(first, b, j, live)
    return value


def barrier(shape):
    """(arrive(), wait()): the block, or the cluster, meets."""
    if shape.cluster > 1:
        return cluster_arrive, cluster_wait

    @helper
    def arrive():
        pass

    @helper
    def wait():
        cuda.syncthreads()

    return arrive, wait


def forward(shape, gates):
    """What the forward kernels of networks with so many gates are made of:

    take(w, u, part, j)               w[gates, 16] = a lane's weights of unit j
    begin(state, h0, row, thread)     the first version of the state in shared memory
    total(w, sums, at, part, thread)  the product of the gate and sequence of a lane with the state at `at`
    put(at, value, gate)              an element of the new state, for all blocks"""
    LANES, ROWS, WIDTH, THREADS, CLUSTER, GATES = shape.lanes, shape.rows, shape.width, shape.threads, shape.cluster, gates

    @helper
    def take(w, u, part, j):
        H = u.shape[0]
        for i in range(4):
            for c in range(4):
                k = 4 * (i * LANES + part) + c
                for g in range(GATES):
                    value = ZERO
                    if k < H and j < H:
                        value = u[k, g * H + j]
                    w[g, 4 * i + c] = value

    @helper
    def begin(state, h0, B, H, row, thread):
        for n in range(thread, ROWS * WIDTH, THREADS):
            b, j = row + n // WIDTH, n % WIDTH
            state[n] = first_value(h0, b, j, b < B and j < H)

    @helper
    def total(w, sums, at, part, thread):
        for n in range(4 * ROWS):
            sums[n] = ZERO
        mine = at + u32(16) * u32(part)
        for r in range(ROWS):
            for i in range(4):
                x = load_shared_4(mine + u32(4 * r * WIDTH + 16 * LANES * i))
                for c in range(4):
                    for g in range(GATES):
                        sums[4 * r + g] += x[c] * w[g, 4 * i + c]
        if ROWS > 2:
            halve(sums, 8, 8, thread)
        if ROWS > 1:
            halve(sums, 4, 4, thread)
        halve(sums, 2, 2, thread)
        halve(sums, 1, 1, thread)
        return sums[0]

    if CLUSTER > 1:

        @helper
        def put(at, value, gate):
            for n in range(0, CLUSTER, 4):
                store_remote(at, u32(gate + n), value)
    else:

        @helper
        def put(at, value, gate):
            if gate == 0:
                store_shared_f32(at, value)

    arrive, wait = barrier(shape)
    return SimpleNamespace(take=take, begin=begin, total=total, put=put, arrive=arrive, wait=wait)


def backward(shape, gates):
    """The same backward.

    take(w, u, first, thread)         w[together, ...] = a lane's weights of its units, `first` being the block's first
    total(w, sums, at, thread)        the product of a lane's unit and sequence with the gradients of gates at `at`
    put(at, value, gate)              the gradient of a lane's gate, for all blocks"""
    ROWS, WIDTH, CLUSTER, GATES, UNITS = shape.rows, shape.width, shape.cluster, gates, shape.together
    PARTS = UNITS * shape.lanes             # lanes that share a product
    FOURS = gates * shape.width // (4 * PARTS)

    @helper
    def take(w, u, first, thread):
        H = u.shape[0]
        k, part = first + thread // PARTS * UNITS, thread % PARTS
        for i in range(FOURS):
            for c in range(4):
                n = 4 * (i * PARTS + part) + c
                j, column = n % WIDTH, n // WIDTH * H + n % WIDTH
                for m in range(UNITS):
                    value = ZERO
                    if k + m < H and j < H:
                        value = u[k + m, column]
                    w[m, 4 * i + c] = value

    @helper
    def total(w, sums, at, thread):
        for n in range(UNITS * ROWS):
            sums[n] = ZERO
        mine = at + u32(16) * u32(thread % PARTS)
        for r in range(ROWS):
            for i in range(FOURS):
                x = load_shared_4(mine + u32(4 * r * GATES * WIDTH + 16 * PARTS * i))
                for c in range(4):
                    for m in range(UNITS):
                        sums[m * ROWS + r] += x[c] * w[m, 4 * i + c]
        if UNITS * ROWS > 4:
            halve(sums, 4, 16, thread)
        halve(sums, 2, 8, thread)
        halve(sums, 1, 4, thread)
        found = sums[0]
        found += cuda.shfl_xor_sync(FULL, found, 2)
        return found + cuda.shfl_xor_sync(FULL, found, 1)

    if CLUSTER > 1:

        @helper
        def put(at, value, gate):
            if gate < GATES:
                for n in range(CLUSTER):
                    store_remote(at, u32(n), value)
    else:

        @helper
        def put(at, value, gate):
            if gate < GATES:
                store_shared_f32(at, value)

    arrive, wait = barrier(shape)
    return SimpleNamespace(take=take, total=total, put=put, arrive=arrive, wait=wait, weights=(UNITS, 4 * FOURS), sums=UNITS * ROWS)
