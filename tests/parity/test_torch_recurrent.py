"""SimpleRNN, LSTM and GRU beside PyTorch's: outputs, states and gradients, one layer and stacked, in both directions."""
import numpy as np
import pytest
import torch

import dlcore as dl
from dlcore import ops
from dlcore.graph import Graph, plan
from dlcore.layers import GRU, LSTM, Bidirectional, Input, SimpleRNN

B, T, C, H = 7, 11, 5, 16
KINDS = {"rnn": (SimpleRNN, torch.nn.RNN, 1), "lstm": (LSTM, torch.nn.LSTM, 4), "gru": (GRU, torch.nn.GRU, 3)}


def turned(kind, w):
    """PyTorch's [gates * H, ...] as Keras lays it out: columns, the GRU's first two gates in the other order."""
    w = w.detach().numpy()
    if kind == "gru":
        r, z, n = np.split(w, 3)
        w = np.concatenate([z, r, n])
    return np.ascontiguousarray(w.T)


def weights(kind, theirs, suffix):
    w, u, b, rb = (turned(kind, getattr(theirs, f"{n}_{suffix}")) for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    return [w, u, np.stack([b, rb]) if kind == "gru" else b + rb]


@pytest.mark.parametrize("kind", KINDS)
def test_values_states_and_gradients(kind):
    """The ops themselves, with states that come and states that leave, gradients through all of them."""
    torch.manual_seed(0)
    theirs = KINDS[kind][1](C, H, batch_first=True)
    states = 2 if kind == "lstm" else 1
    rng = np.random.default_rng(0)
    arrays = {"x": rng.standard_normal((B, T, C)), **{f"s{k}": rng.standard_normal((B, H)) for k in range(states)}}
    arrays = {n: a.astype(np.float32) for n, a in arrays.items()}
    arrays |= dict(zip(("kernel", "recurrent", "bias"), weights(kind, theirs, "l0"), strict=True))
    douts = [rng.standard_normal(s).astype(np.float32) for s in ((B, T, H), *[(B, H)] * states)]

    graph = Graph()
    leaves = {n: graph.weight(n, *a.shape) for n, a in arrays.items()}
    given = [leaves[f"s{k}"] for k in range(states)]
    outs = getattr(ops, kind)(leaves["x"], leaves["kernel"], leaves["recurrent"], leaves["bias"], None, *given)
    seeds = {out: graph.input(f"dout{k}", *out.shape) for k, out in enumerate(outs)}
    program = plan(graph, {f"out{k}": out for k, out in enumerate(outs)}, gradients={o: list(leaves.values()) for o in outs},
                   seeds=seeds)
    instance = program.bind()
    for name, a in {**arrays, **{f"dout{k}": d for k, d in enumerate(douts)}}.items():
        instance[name][...] = a
    instance.run(*program.segments)

    tensors = {n: torch.from_numpy(arrays[n]).requires_grad_() for n in arrays if n[0] in "xs"}
    first = tuple(tensors[f"s{k}"][None] for k in range(states))
    out, last = theirs(tensors["x"], first if kind == "lstm" else first[0])
    expected = [out, *[s[0] for s in (last if kind == "lstm" else (last,))]]
    sum((e * torch.from_numpy(d)).sum() for e, d in zip(expected, douts, strict=True)).backward()
    for k, e in enumerate(expected):
        np.testing.assert_allclose(instance[f"out{k}"], e.detach().numpy(), atol=1e-5)
    for n, t in tensors.items():
        np.testing.assert_allclose(instance.gradient(n), t.grad.numpy(), atol=1e-5)
    grads = [turned(kind, getattr(theirs, f"{n}_l0").grad) for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    bias = np.stack(grads[2:]) if kind == "gru" else grads[2]
    for n, g in zip(("kernel", "recurrent", "bias"), (*grads[:2], bias), strict=True):
        scale = max(1.0, np.abs(g).max())
        np.testing.assert_allclose(instance.gradient(n) / scale, g / scale, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_stacked_bidirectional_on_padded_sequences(kind):
    """Two layers in both directions; PyTorch packs the sequences, here a mask says which steps are there."""
    torch.manual_seed(1)
    layer, theirs = KINDS[kind][0], KINDS[kind][1](C, H, num_layers=2, bidirectional=True, batch_first=True)
    lengths = np.array([11, 3, 7, 1, 10, 5, 8])
    x = np.random.default_rng(1).standard_normal((B, T, C)).astype(np.float32)
    x[np.arange(T) >= lengths[:, None]] = 0
    source = Input((T, C))
    hidden = dl.layers.Masking()(source)
    blocks = [Bidirectional(layer(H, return_sequences=True)) for _ in range(2)]
    for block in blocks:
        hidden = block(hidden)
    model = dl.Model(source, hidden)
    for k, block in enumerate(blocks):
        block.set_weights([*weights(kind, theirs, f"l{k}"), *weights(kind, theirs, f"l{k}_reverse")])
    packed = torch.nn.utils.rnn.pack_padded_sequence(torch.from_numpy(x), torch.from_numpy(lengths), True, False)
    with torch.no_grad():
        expected, _ = torch.nn.utils.rnn.pad_packed_sequence(theirs(packed)[0], batch_first=True, total_length=T)
    np.testing.assert_allclose(model.predict(x), expected.numpy(), atol=1e-5)
