"""The plain recurrent network whose matrix stays in registers; see `ops/rnn/cuda_held.py`.  Of four lanes one has the only gate."""
import numpy as np

from dlcore.compiler.cuda.intrinsics import cuda, f32, shared_address, u32
from dlcore.compiler.cuda.language import kernel
from dlcore.compiler.cuda.vectors import address_of
from dlcore.compiler.language import helper
from dlcore.ops.formulas import relu, relu_derivative, tanh_derivative
from dlcore.ops.rnn import RELU, cuda_held
from dlcore.ops.rnn.cuda_held import before_at, bounded, bytes_of, first_value, mask_at, of_gate, read_at, store_1

ZERO, GATES = np.float32(0), 1


def rnn_forward_held(shape):
    parts = cuda_held.forward(shape, GATES)
    take, begin, total, put, arrive, wait = parts.take, parts.begin, parts.total, parts.put, parts.arrive, parts.wait
    LANES, ROWS, UNITS, CLUSTER, WIDTH, SUMS = shape.lanes, shape.rows, shape.units, shape.cluster, shape.width, 4 * shape.rows
    STATES, VERSION = 2 * shape.rows * shape.width, 4 * shape.rows * shape.width

    @kernel(**shape.launch, name=f"rnn_forward_{WIDTH}", **shape.own)
    def forward(item, thread, u, mask, h0, reverse, function, steps, h_last):
        (B, T, H), part, row, first = steps.shape, thread % LANES, item // CLUSTER * ROWS, item % CLUSTER * UNITS
        gate, b, j = part & 3, row + (part >> 2), first + thread // LANES
        live, (t, way), is_relu = b < B and j < H, (T - 1, -1) if reverse > 0 else (0, 1), function == RELU
        w, sums = cuda.local.array((GATES, 16), f32), cuda.local.array(SUMS, f32)
        states = cuda.shared.array(STATES, f32, alignment=16)
        take(w, u, part, j)
        begin(states, h0, B, H, row, thread)
        now = shared_address(states)
        after, mine = now + u32(VERSION), u32(part >> 2) * u32(4 * WIDTH) + u32(4) * u32(j)
        h = first_value(h0, b, j, live)
        at, at_mask = address_of(steps) + bytes_of((b * T + t) * H + j), address_of(mask) + bytes_of(b * T + t)
        step, step_mask, writes, masked = bytes_of(way * H), bytes_of(way), live and gate == 0, mask.shape[0] > 0
        x, x_next = read_at(at, live and T > 0), read_at(at + step, live and T > 1)
        here, here_next = mask_at(at_mask, masked, live and T > 0), mask_at(at_mask + step_mask, masked, live and T > 1)
        arrive()
        wait()
        for s in range(T):
            a = x + of_gate(total(w, sums, now, part, thread), 0, thread)
            new = relu(a) if is_relu else bounded(a, True)
            h = new if here else h
            put(after + mine, h, gate)
            arrive()
            wanted = live and s + 2 < T
            x, x_next = x_next, read_at(at + step + step, wanted)
            here, here_next = here_next, mask_at(at_mask + step_mask + step_mask, masked, wanted)
            if writes:
                store_1(at, h)
            now, after, at, at_mask = after, now, at + step, at_mask + step_mask
            wait()
        if live and gate == 0:
            h_last[b, j] = h


@helper
def slope(y, is_relu):
    return relu_derivative(y) if is_relu else tanh_derivative(y)


def rnn_backward_held(shape):
    parts = cuda_held.backward(shape, GATES)
    take, total, put, arrive, wait, WEIGHTS = parts.take, parts.total, parts.put, parts.arrive, parts.wait, parts.weights
    LANES, ROWS, UNITS, CLUSTER, WIDTH, SUMS = shape.lanes, shape.rows, shape.units, shape.cluster, shape.width, parts.sums
    GRADIENTS, VERSION = 2 * shape.rows * GATES * shape.width, 4 * shape.rows * GATES * shape.width

    @kernel(**shape.launch, name=f"rnn_backward_{WIDTH}", **shape.own)
    def backward(item, thread, dout, dh_last, u, mask, h0, out, reverse, function, da, h_before, dh0):
        (B, T, H), part, row, first = out.shape, thread % LANES, item // CLUSTER * ROWS, item % CLUSTER * UNITS
        gate, b, j = part & 3, row + (part >> 2), first + thread // LANES
        live, (t, way), is_relu = b < B and j < H, (0, 1) if reverse > 0 else (T - 1, -1), function == RELU
        w, sums = cuda.local.array(WEIGHTS, f32), cuda.local.array(SUMS, f32)
        gradients = cuda.shared.array(GRADIENTS, f32, alignment=16)
        take(w, u, first, thread)
        now = shared_address(gradients)
        after, mine = now + u32(VERSION), u32(part >> 2) * u32(4 * WIDTH) + u32(4) * u32(j)
        dh = first_value(dh_last, b, j, live)
        place, at_mask = bytes_of((b * T + t) * H + j), address_of(mask) + bytes_of(b * T + t)
        step, step_mask = bytes_of(way * H), bytes_of(way)
        at_da, at_out, at_dout, at_before = address_of(da), address_of(out), address_of(dout), address_of(h_before)
        masked, given_out, some, more = mask.shape[0] > 0, dout.shape[0] > 0, live and T > 0, live and T > 1
        here, d, y = mask_at(at_mask, masked, some), read_at(at_dout + place, some and given_out), read_at(at_out + place, some)
        here_next, d_next = mask_at(at_mask + step_mask, masked, more), read_at(at_dout + place + step, more and given_out)
        old = before_at(h0, b, j, at_out + place + step, T - 1, live)
        old_next = before_at(h0, b, j, at_out + place + step + step, T - 2, live)
        arrive()
        wait()
        for s in range(T - 1, -1, -1):
            dh += d
            own, rest = (dh * slope(y, is_relu), ZERO) if here else (ZERO, dh)
            put(now + mine, own, gate)
            arrive()
            if live:
                if gate == 0:
                    store_1(at_da + place, own)
                elif gate == 1:
                    store_1(at_before + place, old)
            here, d, y, old = here_next, d_next, old, old_next
            wanted, place, at_mask = live and s > 1, place + step, at_mask + step_mask
            here_next, d_next = mask_at(at_mask + step_mask, masked, wanted), read_at(at_dout + place + step, wanted and given_out)
            old_next = before_at(h0, b, j, at_out + place + step + step, s - 2, live)
            wait()
            dh = rest + total(w, sums, now, thread)
            now, after = after, now
        if live and gate == 0:
            dh0[b, j] = dh
