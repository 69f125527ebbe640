"""Additive attention as a layer: its formula in NumPy, padded steps, saving."""
import numpy as np
import pytest

from dlcore.errors import ShapeError, UsageError
from dlcore.layers import AdditiveAttention, Embedding, Input
from dlcore.training.model import Model


@pytest.fixture
def model():
    ids, query = Input((5,), "int32"), Input((3, 4))
    return Model([query, ids], AdditiveAttention(6)(query, Embedding(9, 7, mask_zero=True)(ids)), seed=1)


def test_its_formula(model, tmp_path):
    rng = np.random.default_rng(0)
    query, ids = rng.normal(size=(2, 3, 4)).astype(np.float32), np.array([[1, 2, 3, 4, 5], [6, 7, 0, 0, 0]], np.int32)
    made = model.predict([query, ids])
    w = {v.path.rpartition("/")[2]: v.array.astype(np.float64) for v in model.variables}
    value = w["embeddings"][ids]
    h = np.tanh((query @ w["query_kernel"])[:, :, None] + (value @ w["key_kernel"] + w["key_bias"])[:, None])
    s = np.where(ids[:, None] > 0, (h @ w["vector"])[..., 0], -np.inf)
    p = np.exp(s - s.max(-1, keepdims=True))
    np.testing.assert_allclose(made, p / p.sum(-1, keepdims=True) @ value, rtol=1e-5, atol=1e-6)
    model.save(tmp_path / "m.dlc")
    np.testing.assert_array_equal(Model.load(tmp_path / "m.dlc").predict([query, ids]), made)


def test_what_is_refused():
    with pytest.raises(UsageError):
        AdditiveAttention(0)
    with pytest.raises(ShapeError):
        AdditiveAttention(3)(Input((3, 4)))
