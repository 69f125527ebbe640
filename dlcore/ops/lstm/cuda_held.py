"""LSTM whose matrix stays in registers; see `ops/rnn/cuda_held.py`."""
import numpy as np

from dlcore.compiler.cuda.intrinsics import cuda, f32, shared_address, u32
from dlcore.compiler.cuda.language import kernel
from dlcore.compiler.cuda.vectors import address_of
from dlcore.compiler.language import helper
from dlcore.ops.formulas import sigmoid_derivative, tanh_derivative
from dlcore.ops.rnn import cuda_held
from dlcore.ops.rnn.cuda_held import before_at, bounded, bytes_of, first_value, mask_at, of_gate, read_at, store_1

ZERO, ONE, GATES = np.float32(0), np.float32(1), 4


def lstm_forward_held(shape):
    parts = cuda_held.forward(shape, GATES)
    take, begin, total, put, arrive, wait = parts.take, parts.begin, parts.total, parts.put, parts.arrive, parts.wait
    LANES, ROWS, UNITS, CLUSTER, WIDTH, SUMS = shape.lanes, shape.rows, shape.units, shape.cluster, shape.width, 4 * shape.rows
    STATES, VERSION = 2 * shape.rows * shape.width, 4 * shape.rows * shape.width

    @kernel(**shape.launch, name=f"lstm_forward_{WIDTH}", **shape.own)
    def forward(item, thread, u, mask, h0, c0, reverse, gates, out, cells, h_last, c_last):
        (B, T, H), part, row, first = out.shape, thread % LANES, item // CLUSTER * ROWS, item % CLUSTER * UNITS
        gate, b, j = part & 3, row + (part >> 2), first + thread // LANES
        live, (t, way) = b < B and j < H, (T - 1, -1) if reverse > 0 else (0, 1)
        w, sums = cuda.local.array((4, 16), f32), cuda.local.array(SUMS, f32)
        states = cuda.shared.array(STATES, f32, alignment=16)
        take(w, u, part, j)
        begin(states, h0, B, H, row, thread)
        now = shared_address(states)
        after, mine = now + u32(VERSION), u32(part >> 2) * u32(4 * WIDTH) + u32(4) * u32(j)
        h, c = first_value(h0, b, j, live), first_value(c0, b, j, live)
        # where this lane's gate, what it writes of the states, and the mask are in memory, and how far from step to step
        at, at_mask = address_of(gates) + bytes_of((b * T + t) * 4 * H + gate * H + j), address_of(mask) + bytes_of(b * T + t)
        at_state = (address_of(out) if gate == 0 else address_of(cells)) + bytes_of((b * T + t) * H + j)
        step, step_state, step_mask = bytes_of(way * 4 * H), bytes_of(way * H), bytes_of(way)
        masked, writes = mask.shape[0] > 0, live and gate < 2
        x, x_next = read_at(at, live and T > 0), read_at(at + step, live and T > 1)
        here, here_next = mask_at(at_mask, masked, live and T > 0), mask_at(at_mask + step_mask, masked, live and T > 1)
        arrive()
        wait()
        for s in range(T):
            a = bounded(x + total(w, sums, now, part, thread), gate == 2)
            i, f = of_gate(a, 0, thread), of_gate(a, 1, thread)
            g, o = of_gate(a, 2, thread), of_gate(a, 3, thread)
            c_new = f * c + i * g
            h_new = o * bounded(c_new, True)
            c, h = (c_new, h_new) if here else (c, h)
            put(after + mine, h, gate)
            arrive()
            wanted, was_here = live and s + 2 < T, here
            x, x_next = x_next, read_at(at + step + step, wanted)
            here, here_next = here_next, mask_at(at_mask + step_mask + step_mask, masked, wanted)
            if was_here:
                store_1(at, a)
            if writes:
                store_1(at_state, h if gate == 0 else c)
            at, at_state, at_mask = at + step, at_state + step_state, at_mask + step_mask
            now, after = after, now
            wait()
        if live and gate == 0:
            h_last[b, j], c_last[b, j] = h, c


@helper
def step_given(at, gap, wanted):
    """The four gates of a unit, from an address on."""
    return read_at(at, wanted), read_at(at + gap, wanted), read_at(at + gap + gap, wanted), read_at(at + gap + gap + gap, wanted)


@helper
def factors(given, cell, cell_before, gate):
    """(what dh gives to dc, what dc or dh gives to the gate of this lane, what dc gives to the cell before)"""
    i, f, g, o = given
    th = bounded(cell, True)
    of_own = g * sigmoid_derivative(i)
    of_own = cell_before * sigmoid_derivative(f) if gate == 1 else of_own
    of_own = i * tanh_derivative(g) if gate == 2 else of_own
    of_own = th * sigmoid_derivative(o) if gate == 3 else of_own
    return o * tanh_derivative(th), of_own, f


def lstm_backward_held(shape):
    parts = cuda_held.backward(shape, GATES)
    take, total, put, arrive, wait, WEIGHTS = parts.take, parts.total, parts.put, parts.arrive, parts.wait, parts.weights
    LANES, ROWS, UNITS, CLUSTER, WIDTH, SUMS = shape.lanes, shape.rows, shape.units, shape.cluster, shape.width, parts.sums
    GRADIENTS, VERSION = 2 * shape.rows * GATES * shape.width, 4 * shape.rows * GATES * shape.width

    @kernel(**shape.launch, name=f"lstm_backward_{WIDTH}", **shape.own)
    def backward(item, thread, dout, dh_last, dc_last, u, mask, h0, c0, out, cells, reverse, gates, h_before, dh0, dc0):
        (B, T, H), part, row, first = out.shape, thread % LANES, item // CLUSTER * ROWS, item % CLUSTER * UNITS
        gate, b, j = part & 3, row + (part >> 2), first + thread // LANES
        live, (t, way) = b < B and j < H, (0, 1) if reverse > 0 else (T - 1, -1)
        w, sums = cuda.local.array(WEIGHTS, f32), cuda.local.array(SUMS, f32)
        gradients = cuda.shared.array(GRADIENTS, f32, alignment=16)
        take(w, u, first, thread)
        now = shared_address(gradients)
        after, mine = now + u32(VERSION), u32((part >> 2) * GATES + gate) * u32(4 * WIDTH) + u32(4) * u32(j)
        dh, dc = first_value(dh_last, b, j, live), first_value(dc_last, b, j, live)
        # where a step's gates, states and mask are in memory, and how far from step to step, the last one first
        at, at_mask = address_of(gates) + bytes_of((b * T + t) * 4 * H + j), address_of(mask) + bytes_of(b * T + t)
        place, own_gate, gap = bytes_of((b * T + t) * H + j), bytes_of(gate * H), bytes_of(H)
        step, step_state, step_mask = bytes_of(way * 4 * H), bytes_of(way * H), bytes_of(way)
        at_out, at_cell, at_dout, at_before = address_of(out), address_of(cells), address_of(dout), address_of(h_before)
        masked, given_out = mask.shape[0] > 0, dout.shape[0] > 0
        # of step s: what is needed of it; of step s - 1: what memory holds
        some, more, next_place = live and T > 0, live and T > 1, place + step_state
        here, d = mask_at(at_mask, masked, some), read_at(at_dout + place, some and given_out)
        cell, old = before_at(c0, b, j, at_cell + next_place, T - 1, live), before_at(h0, b, j, at_out + next_place, T - 1, live)
        to_cell, to_gate, keep = factors(step_given(at, gap, some), read_at(at_cell + place, some), cell, gate)
        given, here_next = step_given(at + step, gap, more), mask_at(at_mask + step_mask, masked, more)
        d_next, next_place = read_at(at_dout + next_place, more and given_out), next_place + step_state
        cell_next = before_at(c0, b, j, at_cell + next_place, T - 2, live)
        old_next = before_at(h0, b, j, at_out + next_place, T - 2, live)
        arrive()
        wait()
        for s in range(T - 1, -1, -1):
            dh += d
            dc_new = dc + dh * to_cell
            da = (dh if gate == 3 else dc_new) * to_gate
            da, rest, dc = (da, ZERO, dc_new * keep) if here else (ZERO, dh, dc)
            put(now + mine, da, gate)
            arrive()
            if live:
                store_1(at + own_gate, da)
                if gate == 0:
                    store_1(at_before + place, old)
            to_cell, to_gate, keep = factors(given, cell, cell_next, gate)
            here, d, old, cell = here_next, d_next, old_next, cell_next
            wanted, at, at_mask, place = live and s > 1, at + step, at_mask + step_mask, place + step_state
            given, here_next = step_given(at + step, gap, wanted), mask_at(at_mask + step_mask, masked, wanted)
            next_place = place + step_state
            d_next, next_place = read_at(at_dout + next_place, wanted and given_out), next_place + step_state
            cell_next = before_at(c0, b, j, at_cell + next_place, s - 2, live)
            old_next = before_at(h0, b, j, at_out + next_place, s - 2, live)
            wait()
            dh = rest + total(w, sums, now, thread)
            now, after = after, now
        if live and gate == 0:
            dh0[b, j], dc0[b, j] = dh, dc
