"""Recurrent networks by their definition, step by step in float64; what `lstm` and `gru` share stands here too."""
import numpy as np

from dlcore.ops.case import Case, random

FUNCTIONS = {"tanh": (np.tanh, lambda y: 1 - y * y), "relu": (lambda a: np.maximum(a, 0), lambda y: (y > 0).astype(float))}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def order(T, reverse):
    """Steps in the order in which they are taken."""
    return range(T - 1, -1, -1) if reverse else range(T)


def zeros(x, H, state):
    return np.zeros((len(x), H)) if state is None else state


def here(mask, t, B):
    """1 for sequences that have step t, as a column."""
    return np.ones((B, 1)) if mask is None else mask[:, t:t + 1]


def forward(x, kernel, recurrent, bias, mask, h0, reverse, activation):
    """Outputs, and the state before each step."""
    B, T, _ = x.shape
    H, f = len(recurrent), FUNCTIONS[activation][0]
    h, out, before = zeros(x, H, h0), np.zeros((B, T, H)), np.zeros((B, T, H))
    for t in order(T, reverse):
        m = here(mask, t, B)
        before[:, t] = h
        a = x[:, t] @ kernel + h @ recurrent + (0 if bias is None else bias)
        h = out[:, t] = m * f(a) + (1 - m) * h
    return out, h, before


def rnn(x, kernel, recurrent, bias=None, mask=None, h0=None, reverse=False, activation="tanh"):
    return forward(x, kernel, recurrent, bias, mask, h0, reverse, activation)[:2]


def gradients(x, kernel, recurrent, bias, before, da, drecurrent):
    """Those of the weights and of x, from the gradients of the gates."""
    d = {"x": da @ kernel.T, "kernel": np.einsum("btc,btn->cn", x, da),
         "recurrent": np.einsum("bth,btn->hn", before, drecurrent)}
    return d if bias is None else {**d, "bias": da.sum((0, 1))}


def rnn_backward(dout, dh, x, kernel, recurrent, bias=None, mask=None, h0=None, reverse=False, activation="tanh"):
    out, _, before = forward(x, kernel, recurrent, bias, mask, h0, reverse, activation)
    derivative, da, dh = FUNCTIONS[activation][1], np.zeros_like(out), dh.copy()
    for t in reversed(order(x.shape[1], reverse)):
        m = here(mask, t, len(x))
        dh = dh + dout[:, t]
        da[:, t] = m * dh * derivative(out[:, t])
        dh = (1 - m) * dh + da[:, t] @ recurrent.T
    d = gradients(x, kernel, recurrent, bias, before, da, da)
    return d if h0 is None else {**d, "h0": dh}


def padded(B, T, left=False, seed=5):
    """A mask with sequences of different lengths, one of them empty where there are three."""
    lengths = np.random.default_rng(seed).integers(1, T + 1, B)
    lengths[2:3] = 0
    mask = (np.arange(T) < lengths[:, None]).astype(np.float64)
    return mask[:, ::-1].copy() if left else mask


def inputs(B, T, C, H, gates, states=(), bias=(), mask=None):
    """The arrays of a case; `bias`: the leading axes that it has before its gates * H columns, None for no bias."""
    made = {"x": random(B, T, C), "kernel": random(C, gates * H, seed=1, scale=C ** -0.5),
            "recurrent": random(H, gates * H, seed=2, scale=0.8 * H ** -0.5)}
    if bias is not None:
        made["bias"] = random(*bias, gates * H, seed=3, scale=0.3)
    if mask is not None:
        made["mask"] = mask
    return made | {name: random(B, H, seed=7 + k, scale=0.5) for k, name in enumerate(states)}


def cases(op, reference, backward, gates, states, bias=()):
    """The same cases for each kind of network: odd sizes, few rows, padding on both sides, states, both directions."""
    def case(id, made, **options):
        learned = [n for n in made if n != "mask"]
        return Case(op, id, made, reference, backward, learned, options, tolerance=3e-6, gradient_tolerance=1e-5)
    return [
        case("odd", inputs(13, 7, 5, 11, gates, states, bias)),
        case("one-row", inputs(1, 9, 5, 7, gates, states, bias)),
        case("wide", inputs(17, 3, 8, 40, gates, (), bias)),
        case("70-units", inputs(3, 4, 5, 70, gates, states, bias, padded(3, 4))),
        case("130-units", inputs(5, 3, 4, 130, gates, states, bias), reverse=True),
        case("270-units", inputs(9, 2, 3, 270, gates, states, bias)),
        case("one-step-no-bias", inputs(5, 1, 3, 4, gates, (), None)),
        case("reverse", inputs(6, 5, 3, 4, gates, states, bias), reverse=True),
        case("right-padding", inputs(9, 8, 3, 5, gates, states, bias, padded(9, 8))),
        case("left-padding-reverse", inputs(3, 8, 3, 5, gates, (), bias, padded(3, 8, left=True)), reverse=True),
    ]


def reverse_steps(x):
    return x[:, ::-1]


def reverse_steps_backward(dout, x):
    return {"x": dout[:, ::-1]}


def scale_steps(x, s):
    return x * s[..., None]


def scale_steps_backward(dout, x, s):
    return {"x": dout * s[..., None]}


def scale_columns(x, s):
    return x * s[:, None]


def scale_columns_backward(dout, x, s):
    return {"x": dout * s[:, None]}


CASES = [
    *cases("rnn", rnn, rnn_backward, 1, ("h0",)),
    Case("rnn", "relu", inputs(4, 5, 3, 9, 1, ("h0",)), rnn, rnn_backward, ["x", "kernel", "recurrent", "bias", "h0"],
         {"activation": "relu"}, tolerance=3e-6, gradient_tolerance=1e-5),
    Case("reverse_steps", "odd", {"x": random(5, 7, 3)}, reverse_steps, reverse_steps_backward, ["x"], exact=True, twice=True),
    Case("scale_steps", "odd", {"x": random(5, 7, 3), "s": padded(5, 7)}, scale_steps, scale_steps_backward, ["x"], twice=True),
    Case("scale_columns", "odd", {"x": random(5, 7, 3), "s": random(5, 3, seed=9)}, scale_columns, scale_columns_backward, ["x"],
         twice=True),
]
