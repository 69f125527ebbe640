"""Maps of attention: they give the layer's own output back, for every kind of mask, and cost nothing where nobody asks."""
import numpy as np
import pytest

import dlcore as dl
from dlcore import layers as L
from dlcore.errors import UsageError
from dlcore.models import attention_maps, encoder_classifier

X = np.random.default_rng(0).standard_normal((2, 9, 8)).astype(np.float32)


def output(layer, weights, x, maps):
    """What the layer makes of x by its maps: weighted values, projected.   weights: kernels and biases"""
    H, G, D = layer.num_heads, layer.groups, layer.key_dim
    kernel, bias, last, last_bias = weights
    v = (x @ kernel + bias).reshape(*x.shape[:2], -1, D)[:, :, H + G:]
    out = np.einsum("bhts,bshd->bthd", maps, np.repeat(v, H // G, 2))
    return out.reshape(*x.shape[:2], -1) @ last + last_bias


@pytest.mark.parametrize("options", [{}, {"use_causal_mask": True}, {"sliding_window": 3, "use_causal_mask": True},
                                     {"num_key_value_heads": 2}, {"rotary_base": 100.0}])
def test_maps_give_the_output_back(options):
    x, layer = L.Input((9, 8)), L.MultiHeadAttention(4, 6, **options)
    model = dl.Model(x, layer(x), seed=1)
    maps = attention_maps(model, X)
    assert list(maps) == [layer.path] and maps[layer.path].shape == (2, 4, 9, 9)
    found = maps[layer.path]
    np.testing.assert_allclose(found.sum(-1), 1, rtol=1e-5)
    if "use_causal_mask" in options:
        assert not np.triu(found, 1).any()
    np.testing.assert_allclose(output(layer, model.get_weights(), X, found), model.predict(X), rtol=1e-4, atol=1e-5)


def test_padding_is_not_seen_and_every_block_has_one():
    model = encoder_classifier(12, 20, 3, embed=8, hidden=(16, 16), heads=2, dropout=0.0)
    ids = np.zeros((2, 12), np.int32)
    ids[0, :5], ids[1] = [1, 2, 3, 4, 5], np.arange(1, 13)
    maps = attention_maps(model, ids)
    assert len(maps) == 2
    for found in maps.values():
        assert found.shape == (2, 2, 12, 12) and not found[0, :, :, 5:].any()
        np.testing.assert_allclose(found.sum(-1), 1, rtol=1e-5)


def test_other_sequences_and_models_without():
    query, value = L.Input((5, 8)), L.Input((9, 8))
    model = dl.Model([query, value], L.MultiHeadAttention(2, 4)(query, value))
    (found,) = attention_maps(model, [X[:, :5], X]).values()
    assert found.shape == (2, 2, 5, 9)
    with pytest.raises(UsageError, match="no layers of attention"):
        attention_maps(dl.Sequential([L.Dense(2, input_shape=(3,))]), np.zeros((1, 3)))
