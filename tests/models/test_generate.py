"""Sampling and beam search, on logits that are known."""
import numpy as np
import pytest

from dlcore.errors import UsageError
from dlcore.models import generate
from dlcore.models.generate import Sampling, beam_search, sample

LOGITS = np.log(np.array([0.5, 0.25, 0.15, 0.1]))


def test_what_is_cut():
    def p(**options):
        return Sampling(**options).probabilities(LOGITS)
    np.testing.assert_allclose(p(), [0.5, 0.25, 0.15, 0.1])
    np.testing.assert_allclose(p(top_k=2), [2 / 3, 1 / 3, 0, 0])
    np.testing.assert_allclose(p(top_p=0.7), [2 / 3, 1 / 3, 0, 0])
    np.testing.assert_allclose(p(top_p=0.76), [0.5 / 0.9, 0.25 / 0.9, 0.15 / 0.9, 0])
    np.testing.assert_allclose(p(min_p=0.25), [0.5 / 0.9, 0.25 / 0.9, 0.15 / 0.9, 0])
    np.testing.assert_array_equal(p(temperature=0), [1, 0, 0, 0])
    np.testing.assert_allclose(p(temperature=0.5), np.array([0.25, 0.0625, 0.0225, 0.01]) / 0.345)
    np.testing.assert_allclose(p(banned=(0,)), [0, 0.5, 0.3, 0.2])


def test_a_repetition_penalty():
    out = Sampling(repetition_penalty=2.0).adjusted(np.array([2.0, -1.0, 3.0]), [0, 1, 1])
    np.testing.assert_array_equal(out, [1, -2, 3])


def test_draws_fall_where_their_share_is():
    sampling = Sampling(seed=5)
    chosen = np.array([sampling.choose(LOGITS, (), d) for d in (0.0, 0.4999, 0.5001, 0.76, 0.95, 0.999999)])
    np.testing.assert_array_equal(chosen, [0, 0, 1, 2, 3, 3])
    assert Sampling(top_k=1).choose(LOGITS, (), 0.999) == 0
    assert [d for _, d in zip(range(5), sampling.draws())] == [d for _, d in zip(range(5), Sampling(seed=5).draws())]


@pytest.mark.parametrize("top_k, top_p", [(0, 0.9), (0, 0.5), (40, 1.0), (40, 0.3), (700, 0.99), (3000, 0.9999999), (1, 0.1)])
def test_a_cut_of_many_is_that_of_all_sorted(top_k, top_p):
    """Some logits are equal: the first of them stay."""
    logits = np.round(np.random.default_rng(top_k).standard_normal(3000) * 8) / 4
    p = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    order = np.argsort(-p, kind="stable")
    kept = min(top_k or 3000, int(np.searchsorted(np.cumsum(p[order]), top_p)) + 1 if top_p < 1 else 3000)
    p[order[kept:]] = 0
    np.testing.assert_array_equal(Sampling(top_k=top_k, top_p=top_p).probabilities(logits), p / p.sum())


def test_greed_takes_the_likeliest():
    logits = np.random.default_rng(0).standard_normal(300).astype(np.float32)
    assert Sampling(temperature=0).choose(logits, (), 0.7) == logits.argmax()
    assert Sampling(temperature=0, banned=(int(logits.argmax()),)).choose(logits, (), 0.7) == np.argsort(logits)[-2]


class Chain:
    """Stands in for `Steps`: the next id depends on the last one alone."""

    table = np.log(np.array([[0.01, 0.59, 0.4], [0.4, 0.3, 0.3], [0.01, 0.01, 0.98]]))

    def __init__(self, model, batch, length):
        self.position = 0

    def reset(self):
        self.position = 0

    def reorder(self, rows):
        pass

    def read(self, ids):
        self.position = np.shape(ids)[-1]

    def feed(self, ids):
        self.position += 1
        return self.table[np.asarray(ids)]


@pytest.fixture
def chain(monkeypatch):
    monkeypatch.setattr(generate, "Window", Chain)
    monkeypatch.setattr(generate, "steppable", lambda model: False)


def test_beams_find_what_greed_misses(chain):
    """0 1 0 has 0.59 * 0.4, 0 2 2 has 0.4 * 0.98."""
    assert list(sample(None, [0], 2, 8, Sampling(temperature=0))) == [1, 0]
    assert beam_search(None, [0], 2, 8, 2, Sampling()) == [2, 2]
    assert beam_search(None, [0], 2, 8, 1, Sampling()) == [1, 0]
    assert beam_search(None, [0], 5, 8, 3, Sampling(), lambda ids: ids[-1] == 2, length_penalty=0) == [2]


def test_a_sequence_outgrows_its_context(chain):
    assert len(list(sample(None, [0, 1, 2, 0, 1, 2], 30, 4, Sampling(seed=1)))) == 30


@pytest.mark.parametrize("options", [{"temperature": -1}, {"top_k": -1}, {"top_p": 0}, {"min_p": 2}, {"repetition_penalty": 0}])
def test_numbers_of_no_use(options):
    with pytest.raises(UsageError, match="is of no use"):
        Sampling(**options)


def test_an_empty_prompt(chain):
    with pytest.raises(UsageError, match="prompt"):
        next(sample(None, [], 3, 4, Sampling()))
    with pytest.raises(UsageError, match="prompt"):
        beam_search(None, [], 3, 4, 2, Sampling())
