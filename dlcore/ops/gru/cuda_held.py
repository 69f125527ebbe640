"""GRU whose matrix stays in registers; see `ops/rnn/cuda_held.py`.  Of the four lanes of a unit and sequence three have a gate."""
import numpy as np

from dlcore.compiler.cuda.intrinsics import cuda, f32, shared_address, u32
from dlcore.compiler.cuda.language import kernel
from dlcore.compiler.cuda.vectors import address_of
from dlcore.compiler.language import helper
from dlcore.ops.formulas import sigmoid_derivative, tanh_derivative
from dlcore.ops.rnn import cuda_held
from dlcore.ops.rnn.cuda_held import before_at, bounded, bytes_of, first_value, mask_at, of_gate, read_at, store_1

ZERO, ONE, GATES = np.float32(0), np.float32(1), 3


def gru_forward_held(shape):
    parts = cuda_held.forward(shape, GATES)
    take, begin, total, put, arrive, wait = parts.take, parts.begin, parts.total, parts.put, parts.arrive, parts.wait
    LANES, ROWS, UNITS, CLUSTER, WIDTH, SUMS = shape.lanes, shape.rows, shape.units, shape.cluster, shape.width, 4 * shape.rows
    STATES, VERSION = 2 * shape.rows * shape.width, 4 * shape.rows * shape.width

    @kernel(**shape.launch, name=f"gru_forward_{WIDTH}", **shape.own)
    def forward(item, thread, u, rbias, mask, h0, reverse, gates, out, inner, h_last):
        (B, T, H), part, row, first = out.shape, thread % LANES, item // CLUSTER * ROWS, item % CLUSTER * UNITS
        gate, b, j = part & 3, row + (part >> 2), first + thread // LANES
        live, (t, way) = b < B and j < H, (T - 1, -1) if reverse > 0 else (0, 1)
        has_gate = live and gate < GATES
        w, sums = cuda.local.array((GATES, 16), f32), cuda.local.array(SUMS, f32)
        states = cuda.shared.array(STATES, f32, alignment=16)
        take(w, u, part, j)
        begin(states, h0, B, H, row, thread)
        now = shared_address(states)
        after, mine = now + u32(VERSION), u32(part >> 2) * u32(4 * WIDTH) + u32(4) * u32(j)
        h, more = first_value(h0, b, j, live), ZERO
        if has_gate and rbias.shape[0] > 0:
            more = rbias[gate * H + j]
        # where this lane's gate, what it writes beside it, and the mask are in memory, and how far from step to step
        at, at_mask = address_of(gates) + bytes_of((b * T + t) * 3 * H + gate * H + j), address_of(mask) + bytes_of(b * T + t)
        at_state = (address_of(out) if gate == 0 else address_of(inner)) + bytes_of((b * T + t) * H + j)
        step, step_state, step_mask = bytes_of(way * 3 * H), bytes_of(way * H), bytes_of(way)
        masked, writes = mask.shape[0] > 0, live and gate < 2
        x, x_next = read_at(at, has_gate and T > 0), read_at(at + step, has_gate and T > 1)
        here, here_next = mask_at(at_mask, masked, live and T > 0), mask_at(at_mask + step_mask, masked, live and T > 1)
        arrive()
        wait()
        for s in range(T):
            q = total(w, sums, now, part, thread) + more
            a = bounded(x + q, False)
            z, opened = of_gate(a, 0, thread), of_gate(a, 1, thread)
            inner_q, p = of_gate(q, 2, thread), of_gate(x, 2, thread)
            new = bounded(p + opened * inner_q, True)
            h_new = new + z * (h - new)
            h, inner_q = (h_new, inner_q) if here else (h, ZERO)
            put(after + mine, h, gate)
            arrive()
            wanted, was_here = s + 2 < T, here and gate < GATES
            x, x_next = x_next, read_at(at + step + step, has_gate and wanted)
            here, here_next = here_next, mask_at(at_mask + step_mask + step_mask, masked, live and wanted)
            if was_here:
                store_1(at, new if gate == 2 else a)
            if writes:
                store_1(at_state, h if gate == 0 else inner_q)
            at, at_state, at_mask = at + step, at_state + step_state, at_mask + step_mask
            now, after = after, now
            wait()
        if live and gate == 0:
            h_last[b, j] = h


@helper
def step_given(at, gap, at_inner, wanted):
    """The three gates of a unit, from an address on, and what h gave to the last."""
    return read_at(at, wanted), read_at(at + gap, wanted), read_at(at + gap + gap, wanted), read_at(at_inner, wanted)


@helper
def factors(given, old, gate):
    """(what dh gives to this lane's gate by x, by h, and to the state before)"""
    z, opened, new, q = given
    by_x = (ONE - z) * tanh_derivative(new)
    by_h = by_x * opened
    if gate == 1:
        by_x = by_x * q * sigmoid_derivative(opened)
    elif gate == 0:
        by_x = (old - new) * sigmoid_derivative(z)
    return by_x, by_h if gate == 2 else by_x, z


def gru_backward_held(shape):
    parts = cuda_held.backward(shape, GATES)
    take, total, put, arrive, wait, WEIGHTS = parts.take, parts.total, parts.put, parts.arrive, parts.wait, parts.weights
    LANES, ROWS, UNITS, CLUSTER, WIDTH, SUMS = shape.lanes, shape.rows, shape.units, shape.cluster, shape.width, parts.sums
    GRADIENTS, VERSION = 2 * shape.rows * GATES * shape.width, 4 * shape.rows * GATES * shape.width

    @kernel(**shape.launch, name=f"gru_backward_{WIDTH}", **shape.own)
    def backward(item, thread, dout, dh_last, u, mask, h0, out, inner, reverse, gates, dq, h_before, dh0):
        (B, T, H), part, row, first = out.shape, thread % LANES, item // CLUSTER * ROWS, item % CLUSTER * UNITS
        gate, b, j = part & 3, row + (part >> 2), first + thread // LANES
        live, (t, way) = b < B and j < H, (0, 1) if reverse > 0 else (T - 1, -1)
        w, sums = cuda.local.array(WEIGHTS, f32), cuda.local.array(SUMS, f32)
        gradients = cuda.shared.array(GRADIENTS, f32, alignment=16)
        take(w, u, first, thread)
        now = shared_address(gradients)
        after, mine = now + u32(VERSION), u32((part >> 2) * GATES + gate) * u32(4 * WIDTH) + u32(4) * u32(j)
        dh = first_value(dh_last, b, j, live)
        # where a step's gates, states and mask are in memory, and how far from step to step, the last one first
        at, at_mask = bytes_of((b * T + t) * 3 * H + j), address_of(mask) + bytes_of(b * T + t)
        place, own_gate, gap = bytes_of((b * T + t) * H + j), bytes_of(gate * H), bytes_of(H)
        step, step_state, step_mask = bytes_of(way * 3 * H), bytes_of(way * H), bytes_of(way)
        at_gates, at_dq, at_out, at_inner = address_of(gates), address_of(dq), address_of(out), address_of(inner)
        at_dout, at_before, masked, given_out = address_of(dout), address_of(h_before), mask.shape[0] > 0, dout.shape[0] > 0
        # of step s: what is needed of it; of step s - 1: what memory holds
        some, more, next_place = live and T > 0, live and T > 1, place + step_state
        here, d = mask_at(at_mask, masked, some), read_at(at_dout + place, some and given_out)
        old = before_at(h0, b, j, at_out + next_place, T - 1, live)
        by_x, by_h, keep = factors(step_given(at_gates + at, gap, at_inner + place, some), old, gate)
        here_next, d_next = mask_at(at_mask + step_mask, masked, more), read_at(at_dout + next_place, more and given_out)
        given = step_given(at_gates + at + step, gap, at_inner + next_place, more)
        old_next = before_at(h0, b, j, at_out + next_place + step_state, T - 2, live)
        arrive()
        wait()
        for s in range(T - 1, -1, -1):
            dh += d
            da, dr, rest = (dh * by_x, dh * by_h, dh * keep) if here else (ZERO, ZERO, dh)
            put(now + mine, dr, gate)
            arrive()
            if live:
                if gate < GATES:
                    store_1(at_gates + at + own_gate, da)
                    store_1(at_dq + at + own_gate, dr)
                else:
                    store_1(at_before + place, old)
            by_x, by_h, keep = factors(given, old_next, gate)
            here, d, old = here_next, d_next, old_next
            wanted, at, at_mask, place = live and s > 1, at + step, at_mask + step_mask, place + step_state
            next_place = place + step_state
            here_next, d_next = mask_at(at_mask + step_mask, masked, wanted), read_at(at_dout + next_place, wanted and given_out)
            given = step_given(at_gates + at + step, gap, at_inner + next_place, wanted)
            old_next = before_at(h0, b, j, at_out + next_place + step_state, s - 2, live)
            wait()
            dh = rest + total(w, sums, now, thread)
            now, after = after, now
        if live and gate == 0:
            dh0[b, j] = dh
