"""Rotary embedding by complex numbers, in float64."""
import numpy as np

from dlcore.ops.case import Case, random


def angles(T, R, base=10000.0, position=0):
    return (position + np.arange(T))[:, None] * base ** (-np.arange(R) / R)


def rotary_angles(T, R, base=10000.0, position=0):
    a = angles(T, R, base, position)
    return np.cos(a), np.sin(a)


def rotary(x, cos, sin, heads=None, interleaved=False, sign=1.0):
    out, R = x.copy(), cos.shape[1]
    turn = (cos + 1j * sign * sin)[None, :, None]
    first, second = (slice(0, 2 * R, 2), slice(1, 2 * R, 2)) if interleaved else (slice(0, R), slice(R, 2 * R))
    z = (x[..., first] + 1j * x[..., second]) * turn
    out[:, :, :heads, first], out[:, :, :heads, second] = z.real[:, :, :heads], z.imag[:, :, :heads]
    return out


def rotary_backward(dout, x, cos, sin, heads=None, interleaved=False, sign=1.0):
    return {"x": rotary(dout, cos, sin, heads, interleaved, -sign)}


def case(id, B, T, A, D, R, **options):
    cos, sin = rotary_angles(T, R)
    inputs = {"x": random(B, T, A, D), "cos": cos.astype(np.float32).astype(float), "sin": sin.astype(np.float32).astype(float)}
    return Case("rotary", id, inputs, rotary, rotary_backward, ["x"], options, twice=True)


def angle_case(id, T, R, **options):
    return Case("rotary_angles", id, {}, lambda T, R, **o: rotary_angles(T, R, **o), options={"T": T, "R": R, **options},
                apply=lambda op, graph, inputs, options: op(graph=graph, **options))


CASES = [
    case("halves", 2, 7, 3, 10, 5), case("interleaved", 2, 7, 3, 10, 5, interleaved=True), case("part", 2, 5, 2, 11, 3),
    case("some-heads", 3, 4, 5, 32, 16, heads=3), angle_case("angles", 70, 5),
    angle_case("late", 9, 16, base=500000.0, position=100000),
]
