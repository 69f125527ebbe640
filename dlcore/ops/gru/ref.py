"""GRU by its definition, step by step in float64."""
import numpy as np

from dlcore.ops.rnn.ref import cases, gradients, here, order, sigmoid, zeros


def forward(x, kernel, recurrent, bias, mask, h0, reverse):
    B, T, _ = x.shape
    H = len(recurrent)
    h, out, kept = zeros(x, H, h0), np.zeros((B, T, H)), {}
    b, rb = (0, 0) if bias is None else bias
    for t in order(T, reverse):
        m = here(mask, t, B)
        pz, pr, pn = np.split(x[:, t] @ kernel + b, 3, -1)
        qz, qr, qn = np.split(h @ recurrent + rb, 3, -1)
        z, r = sigmoid(pz + qz), sigmoid(pr + qr)
        n = np.tanh(pn + r * qn)
        kept[t] = z, r, n, qn, h
        h = out[:, t] = m * (z * h + (1 - z) * n) + (1 - m) * h
    return out, h, kept


def gru(x, kernel, recurrent, bias=None, mask=None, h0=None, reverse=False):
    return forward(x, kernel, recurrent, bias, mask, h0, reverse)[:2]


def gru_backward(dout, dh, x, kernel, recurrent, bias=None, mask=None, h0=None, reverse=False):
    out, _, kept = forward(x, kernel, recurrent, bias, mask, h0, reverse)
    dp, before = np.zeros((*out.shape[:2], 3 * out.shape[2])), np.zeros_like(out)
    dq = np.zeros_like(dp)
    for t in reversed(order(x.shape[1], reverse)):
        m, (z, r, n, qn, before[:, t]) = here(mask, t, len(x)), kept[t]
        dh = dh + dout[:, t]
        dz, dn = dh * (before[:, t] - n) * z * (1 - z), dh * (1 - z) * (1 - n * n)
        dr = dn * qn * r * (1 - r)
        dp[:, t], dq[:, t] = m * np.concatenate([dz, dr, dn], -1), m * np.concatenate([dz, dr, dn * r], -1)
        dh = (1 - m) * dh + m * dh * z + dq[:, t] @ recurrent.T
    d = gradients(x, kernel, recurrent, None, before, dp, dq)
    if bias is not None:
        d["bias"] = np.stack([dp.sum((0, 1)), dq.sum((0, 1))])
    return d if h0 is None else {**d, "h0": dh}


CASES = cases("gru", gru, gru_backward, 3, ("h0",), (2,))
