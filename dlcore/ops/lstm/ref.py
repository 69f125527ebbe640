"""LSTM by its definition, step by step in float64."""
import numpy as np

from dlcore.ops.rnn.ref import cases, gradients, here, order, sigmoid, zeros


def forward(x, kernel, recurrent, bias, mask, h0, c0, reverse):
    B, T, _ = x.shape
    H = len(recurrent)
    h, c = zeros(x, H, h0), zeros(x, H, c0)
    out, kept = np.zeros((B, T, H)), {}
    for t in order(T, reverse):
        m = here(mask, t, B)
        a = x[:, t] @ kernel + h @ recurrent + (0 if bias is None else bias)
        i, f, g, o = (k(part) for k, part in zip((sigmoid, sigmoid, np.tanh, sigmoid), np.split(a, 4, -1), strict=True))
        new = f * c + i * g
        kept[t] = i, f, g, o, h, c, new
        h, c = m * o * np.tanh(new) + (1 - m) * h, m * new + (1 - m) * c
        out[:, t] = h
    return out, h, c, kept


def lstm(x, kernel, recurrent, bias=None, mask=None, h0=None, c0=None, reverse=False):
    return forward(x, kernel, recurrent, bias, mask, h0, c0, reverse)[:3]


def lstm_backward(dout, dh, dc, x, kernel, recurrent, bias=None, mask=None, h0=None, c0=None, reverse=False):
    out, _, _, kept = forward(x, kernel, recurrent, bias, mask, h0, c0, reverse)
    da, before = np.zeros((*out.shape[:2], 4 * out.shape[2])), np.zeros_like(out)
    for t in reversed(order(x.shape[1], reverse)):
        m, (i, f, g, o, before[:, t], c, new) = here(mask, t, len(x)), kept[t]
        dh = dh + dout[:, t]
        inner = dc + dh * o * (1 - np.tanh(new) ** 2)
        parts = (inner * g * i * (1 - i), inner * c * f * (1 - f), inner * i * (1 - g * g), dh * np.tanh(new) * o * (1 - o))
        da[:, t] = m * np.concatenate(parts, -1)
        dh, dc = (1 - m) * dh + da[:, t] @ recurrent.T, (1 - m) * dc + m * inner * f
    d = gradients(x, kernel, recurrent, bias, before, da, da)
    return d if h0 is None else {**d, "h0": dh, "c0": dc}


CASES = cases("lstm", lstm, lstm_backward, 4, ("h0", "c0"))
