"""Attention, norms, positions, Transformer blocks and the language model, against NumPy and against themselves."""
import numpy as np
import pytest

import dlcore as dl
from dlcore.errors import ShapeError, UsageError
from dlcore.graph import Graph, plan
from dlcore.layers import (
    CausalLM,
    Dense,
    Embedding,
    GlobalAveragePooling1D,
    Input,
    LayerNormalization,
    MultiHeadAttention,
    PositionalEmbedding,
    RMSNormalization,
    TransformerDecoder,
    TransformerEncoder,
)
from dlcore.models.steps import Steps
from dlcore.ops.attention.ref import attention
from dlcore.ops.rotary.ref import rotary, rotary_angles
from dlcore.runtime import device
from dlcore.training import losses, projected
from dlcore.training.losses import SparseCategoricalCrossentropy


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def applied(layer, *arrays):
    """The layer's output, and its weights by name."""
    sources = [Input(a.shape[1:], "int32" if a.dtype.kind == "i" else "float32") for a in arrays]
    model = dl.Model(sources, layer(*sources))
    out = model.predict(list(arrays))
    return out, {v.name: v.numpy() for v in layer.variables}


def heads(x, w, name, size):
    y = x @ w[f"{name}_kernel"] + w.get(f"{name}_bias", 0)
    return y.reshape(*x.shape[:2], -1, size)


@pytest.mark.parametrize("options", [{}, {"use_causal_mask": True}, {"num_key_value_heads": 2}, {"use_bias": False},
                                     {"sliding_window": 3}])
def test_self_attention(options):
    x, layer = normal(3, 9, 12), MultiHeadAttention(4, 6, **options)
    out, w = applied(layer, x)
    groups = options.get("num_key_value_heads", 4)
    qkv = heads(x.astype(float), w, "qkv", 6)
    o = attention(qkv[:, :, :4], qkv[:, :, 4:4 + groups], qkv[:, :, 4 + groups:], causal=options.get("use_causal_mask", False),
                  window=options.get("sliding_window"))
    np.testing.assert_allclose(out, o.reshape(3, 9, -1) @ w["output_kernel"] + w.get("output_bias", 0), atol=1e-5)


def test_cross_attention_with_other_keys_and_widths():
    q, v, k = normal(2, 5, 8), normal(2, 7, 10, seed=1), normal(2, 7, 6, seed=2)
    out, w = applied(MultiHeadAttention(2, 4, value_dim=3, output_shape=11), q, v, k)
    o = attention(*(heads(x.astype(float), w, n, s) for x, n, s in ((q, "query", 4), (k, "key", 4), (v, "value", 3))))
    np.testing.assert_allclose(out, o.reshape(2, 5, -1) @ w["output_kernel"] + w["output_bias"], atol=1e-5)


def test_rotary_positions():
    x = normal(2, 6, 8)
    out, w = applied(MultiHeadAttention(2, 4, rotary_base=10000.0), x)
    qkv = heads(x.astype(float), w, "qkv", 4)
    cos, sin = rotary_angles(6, 2)
    o = attention(rotary(qkv[:, :, :2], cos, sin), rotary(qkv[:, :, 2:4], cos, sin), qkv[:, :, 4:])
    np.testing.assert_allclose(out, o.reshape(2, 6, -1) @ w["output_kernel"] + w["output_bias"], atol=1e-5)


def test_norms():
    x = normal(4, 3, 10) + 2
    out, _ = applied(LayerNormalization(), x)
    np.testing.assert_allclose(out, (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-3), atol=1e-5)
    bare, w = applied(LayerNormalization(center=False, scale=False), x)
    np.testing.assert_array_equal(bare, out)
    assert not w
    out, _ = applied(RMSNormalization(), x)
    np.testing.assert_allclose(out, x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6), atol=1e-5)


def test_positions():
    x = normal(2, 5, 6)
    out, w = applied(PositionalEmbedding(9), x)
    np.testing.assert_allclose(out, x + w["positions"][:5], atol=1e-6)
    layer = PositionalEmbedding(9, "sinusoidal")
    out, w = applied(layer, x)
    assert not layer.trainable_variables
    np.testing.assert_allclose((out - x)[0, 3, :2], [np.sin(3), np.cos(3)], atol=1e-5)
    np.testing.assert_allclose((out - x)[0, 3, 4:], [np.sin(3 / 10000 ** (4 / 6)), np.cos(3 / 10000 ** (4 / 6))], atol=1e-5)


@pytest.mark.parametrize("first", [True, False])
def test_an_encoder_leaves_padding_out(first):
    """What stands in padded steps changes nothing."""
    ids = Input((6,), "int32")
    x = Embedding(9, 8, mask_zero=True)(ids)
    x = TransformerEncoder(16, 2, normalize_first=first)(PositionalEmbedding(6)(x))
    model = dl.Model(ids, GlobalAveragePooling1D()(x))
    a = model.predict(np.array([[3, 5, 0, 0, 0, 0]]))
    weights = model.get_weights()
    weights[0][0] += 7
    model.set_weights(weights)
    np.testing.assert_allclose(model.predict(np.array([[3, 5, 0, 0, 0, 0]])), a, atol=1e-6)


def test_a_decoder_is_causal_and_reads_an_encoder():
    x, y = Input((5, 8)), Input((7, 8))
    model = dl.Model([x, y], TransformerDecoder(16, 2)(x, y))
    a, b = normal(2, 5, 8), normal(2, 7, 8, seed=1)
    out = model.predict([a, b])
    a[:, 3:] += 1
    np.testing.assert_allclose(model.predict([a, b])[:, :3], out[:, :3], atol=1e-6)
    assert abs(model.predict([a, b + 1]) - model.predict([a, b])).max() > 1e-3


@pytest.mark.parametrize("options", [{}, {"position": "rotary", "normalization": "rms", "num_key_value_heads": 2},
                                     {"position": "sinusoidal", "tied": False}])
def test_steps_are_the_whole_sequence(options):
    ids = Input((12,), "int32")
    model = dl.Model(ids, CausalLM(11, 12, 2, 4, 16, **options)(ids))
    x = np.random.default_rng(0).integers(0, 11, (3, 12)).astype(np.int32)
    whole, steps = model.predict(x), Steps(model, 3, 12)
    for t in range(12):
        np.testing.assert_allclose(steps.feed(x[:, t]), whole[:, t], atol=2e-5)
    with pytest.raises(UsageError, match="as long as it can be"):
        steps.feed(x[:, 0])
    steps.reset()
    np.testing.assert_allclose(steps.feed(x[:, 0]), whole[:, 0], atol=2e-5)
    steps.reorder(np.array([2, 2, 0]))
    np.testing.assert_allclose(steps.feed(x[[2, 2, 0], 1]), whole[[2, 2, 0], 1], atol=2e-5)


@pytest.mark.parametrize("options", [{}, {"position": "rotary", "normalization": "rms", "num_key_value_heads": 2},
                                     {"position": "sinusoidal", "tied": False}])
@pytest.mark.parametrize("n", [0, 2, 9, 39])
def test_what_is_read_at_once_is_what_is_fed(options, n):
    """From a clean cache or not: what a longer sequence left there is not seen."""
    ids = Input((40,), "int32")
    model = dl.Model(ids, CausalLM(11, 40, 2, 4, 16, **options)(ids))
    x = np.random.default_rng(0).integers(0, 11, (3, 40)).astype(np.int32)
    whole, steps = model.predict(x), Steps(model, 3, 40)
    steps.read(x[::-1, :33])
    steps.reset()
    steps.read(x[:, :n])
    assert steps.position == n
    for t in range(n, min(40, n + 3)):
        np.testing.assert_allclose(steps.feed(x[:, t]), whole[:, t], atol=2e-5)


def test_what_is_read_leaves_room():
    ids = Input((12,), "int32")
    steps = Steps(dl.Model(ids, CausalLM(11, 12, 1, 2, 8)(ids)), 1, 12)
    with pytest.raises(UsageError, match="leaves room"):
        steps.read(np.zeros(12, np.int32))
    steps.read(np.zeros(11, np.int32))
    with pytest.raises(UsageError, match="position 11"):
        steps.read(np.zeros(1, np.int32))


def test_weights_that_are_not_decayed():
    ids = Input((4,), "int32")
    model = dl.Model(ids, CausalLM(11, 4, 1, 2, 8)(ids))
    model.ensure_store()
    groups = {v.key: v.group for v in model.variables}
    assert {len(v.shape) > 1 for v in model.variables if v.group == ""} == {True}
    assert {len(v.shape) for v in model.variables if v.group == "no_decay"} == {1}
    assert len(groups) == 16


def test_a_language_model_learns_and_is_saved(tmp_path):
    ids = Input((8,), "int32")
    model = dl.Model(ids, CausalLM(7, 8, 1, 2, 16)(ids))
    model.compile(dl.optim.AdamW(3e-3, weight_decay=0.1, global_clipnorm=1.0), SparseCategoricalCrossentropy(from_logits=True))
    x = (np.arange(9) + np.arange(7)[:, None]) % 7
    first = model.evaluate(x[:, :-1], x[:, 1:])
    assert first == pytest.approx(np.log(7), abs=0.1)
    model.fit(x[:, :-1], x[:, 1:], epochs=120, verbose=0)
    assert model.evaluate(x[:, :-1], x[:, 1:]) < 0.1
    model.save(tmp_path / "m.dlc")
    np.testing.assert_array_equal(dl.Model.load(tmp_path / "m.dlc").predict(x[:, :-1]), model.predict(x[:, :-1]))


def test_bf16_learns_what_float32_does():
    """Products and attention, forward and backward, in heads that are wide enough for bf16."""
    x = np.random.default_rng(1).integers(0, 20, 60)[np.arange(6)[:, None] * 3 + np.arange(41)]
    found = {}
    for precision in ("float32", "bf16"):
        ids = Input((40,), "int32")
        model = dl.Model(ids, CausalLM(20, 40, 2, 2, 64)(ids))
        model.compile(dl.optim.AdamW(3e-3), SparseCategoricalCrossentropy(from_logits=True), precision=precision)
        found[precision] = [model.train_on_batch(x[:, :-1], x[:, 1:]) for _ in range(12)]
    assert found["bf16"][-1] < 0.8 * found["bf16"][0]
    np.testing.assert_allclose(found["bf16"], found["float32"], rtol=1e-2)


def test_logits_in_pieces_give_the_same_step(monkeypatch):
    """The gradient of a tied table comes from both of its uses, whether the logits are whole or made piece by piece."""
    x = np.random.default_rng(1).integers(0, 40, (4, 9))
    found = []
    for most in (1 << 24, 1):
        monkeypatch.setattr(projected, "WHOLE", most)
        monkeypatch.setattr(projected, "PIECE", 40 * 5)
        ids = Input((8,), "int32")
        model = dl.Model(ids, CausalLM(40, 8, 1, 2, 16)(ids))
        model.compile(dl.optim.SGD(1.0), losses.SparseCategoricalCrossentropy(from_logits=True))
        loss = model.train_on_batch(x[:, :-1], x[:, 1:])
        found.append((loss, model.get_weights()))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-6)
    for a, b in zip(found[0][1], found[1][1], strict=True):
        np.testing.assert_allclose(a, b, atol=2e-6)


def test_backward_makes_the_logits_again_but_not_their_sums(monkeypatch):
    """Four pieces: four products and four losses in forward, three products each in backward, none of them shared."""
    monkeypatch.setattr(projected, "WHOLE", 1)
    monkeypatch.setattr(projected, "PIECE", 40 * 5)
    graph = Graph()
    x, table = graph.weight("x", 17, 8), graph.weight("table", 40, 8)
    loss = projected.projected_cross_entropy(x, table, graph.input("t", 17, dtype="i32"), 0.1)
    program = plan(graph, {"loss": loss}, {loss: [x, table]})
    calls = [s.label for s in program.steps if not s.kernel.startswith(("pack", "transposed"))]
    assert [calls.count(f"cross_entropy_{way}") for way in ("forward", "backward")] == [4, 4]
    assert [calls.count(f"matmul_{form}") for form in ("nt", "nn", "tn")] == [8, 4, 4]


def test_pieces_are_large_and_whole_tiles_on_a_gpu(monkeypatch):
    monkeypatch.setattr(device, "_current", object())
    monkeypatch.setattr(projected, "LARGE", 40 * 200)
    graph = Graph()
    x, table = graph.weight("x", 600, 8), graph.weight("table", 40, 8)
    loss = projected.projected_cross_entropy(x, table, graph.input("t", 600, dtype="i32"))
    monkeypatch.undo()
    program = plan(graph, {"loss": loss})
    assert [s.dims[0] for s in program.steps if s.label == "cross_entropy_forward"] == [256, 256, 88]


@pytest.mark.parametrize("make, error, message", [
    (lambda: MultiHeadAttention(0, 4), UsageError, "num_heads"),
    (lambda: MultiHeadAttention(4, 4, num_key_value_heads=3), UsageError, "multiple"),
    (lambda: MultiHeadAttention(4, 3, rotary_base=1e4), UsageError, "even key_dim"),
    (lambda: MultiHeadAttention(4, 4)(Input((4,))), ShapeError, "sequences of vectors"),
    (lambda: MultiHeadAttention(2, 300)(Input((4, 8))), ShapeError, "do not go together"),
    (lambda: MultiHeadAttention(2, 4, sliding_window=0)(Input((4, 8))), UsageError, "window"),
    (lambda: TransformerEncoder(8, 3)(Input((4, 8))), ShapeError, "multiple of 3"),
    (lambda: TransformerEncoder(8, 2, normalization="batch"), UsageError, "normalization"),
    (lambda: PositionalEmbedding(3)(Input((4, 8))), ShapeError, "at most 3"),
    (lambda: PositionalEmbedding(3, "other"), UsageError, "kind"),
    (lambda: CausalLM(9, 4, heads=3, width=8), UsageError, "multiple of heads"),
    (lambda: CausalLM(9, 4, position="none"), UsageError, "position"),
    (lambda: CausalLM(9, 4)(Input((5,), "int32")), ShapeError, "at most 4"),
    (lambda: LayerNormalization(epsilon=0), UsageError, "epsilon"),
    (lambda: Steps(dl.Sequential([Dense(3, input_shape=(4,))]), 1, 4), UsageError, "whole sequences"),
])
def test_errors(make, error, message):
    with pytest.raises(error, match=message):
        make()
