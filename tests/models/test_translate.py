"""Translators: steps equal to whole sequences, searches against brute force, attention that sums to 1."""
import itertools

import numpy as np
import pytest

from dlcore.errors import UsageError
from dlcore.layers import CausalLM, Input
from dlcore.models.translate import Decoder, Search, attention, beam_search, greedy, translator
from dlcore.training.model import Model

SOURCES, TARGETS, S, T = 11, 7, 9, 6        # ids and steps
BEGIN, END = 5, 6


@pytest.fixture(scope="module", params=["transformer", "lstm"])
def model(request):
    made = translator(request.param, SOURCES, TARGETS, S, T, layers=2, width=16, dropout=0.1, heads=2, inner=24, seed=3)
    made.ensure_store()
    rng = np.random.default_rng(0)
    for v in made.variables:                # livelier than at the start, so that translations differ
        if not v.statistic:
            v.assign(v.array + rng.normal(0, 0.25, v.shape))
    return made


@pytest.fixture(scope="module")
def source():
    ids = np.random.default_rng(1).integers(1, SOURCES, (3, 8)).astype(np.int32)
    ids[1, 5:] = ids[2, 2:] = 0
    return ids


def logs_of(model, source, ids):
    """The log-probability of each id of a continuation, by the whole network."""
    given = np.array([[BEGIN, *ids[:-1]]], np.int32)
    z = model.predict([source[None], given])[0].astype(np.float64)
    z -= np.log(np.exp(z).sum(-1, keepdims=True))
    return z[np.arange(len(ids)), ids]


def test_steps_are_those_of_the_whole_sequence(model, source):
    target = np.random.default_rng(2).integers(0, TARGETS, (3, T)).astype(np.int32)
    whole = model.predict([source, target])
    decoder = Decoder(model, 3, 8, 2, T)
    for _ in range(2):                      # it can be started again
        decoder.start(source)
        for t in range(T):
            made = decoder.feed(np.repeat(target[:, t], 2))
            np.testing.assert_allclose(made.reshape(3, 2, -1), np.repeat(whole[:, t, None], 2, 1), rtol=2e-5, atol=2e-5)


def test_padding_and_the_length_of_a_batch_change_nothing(model, source):
    target = np.random.default_rng(2).integers(0, TARGETS, (3, 4)).astype(np.int32)
    whole = model.predict([source, target])
    wider = model.predict([np.pad(source, ((0, 0), (0, 1))), np.pad(target, ((0, 0), (0, 2)))])
    np.testing.assert_allclose(wider[:, :4], whole, rtol=2e-5, atol=2e-5)
    alone = model.predict([source[2:, :2], target[2:]])
    np.testing.assert_allclose(alone, whole[2:], rtol=2e-5, atol=2e-5)


def test_reordered_sequences_go_on_from_the_others(model, source):
    decoder, target = Decoder(model, 1, 8, 3, T), np.random.default_rng(4).integers(0, TARGETS, (3, 4)).astype(np.int32)
    decoder.start(source[:1])
    for t in range(3):
        decoder.feed(target[:, t])
    decoder.reorder(np.array([2, 2, 0]))
    made = decoder.feed(target[:, 3])
    again = np.concatenate([target[[2, 2, 0], :3], target[:, 3:]], 1)
    np.testing.assert_allclose(made, model.predict([np.repeat(source[:1], 3, 0), again])[:, 3], rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_a_wide_beam_finds_the_best_of_all(model, source, penalty):
    """With as many beams as there are continuations nothing is lost, so brute force finds no better one that ends."""
    length, search = 3, Search(BEGIN, END, (0, BEGIN), penalty)
    allowed = [i for i in range(TARGETS) if i not in (0, BEGIN, END)]
    every = [(*ids, END) for n in range(length) for ids in itertools.product(allowed, repeat=n)]
    decoder = Decoder(model, 3, 8, len(every), length)
    found = beam_search(decoder, source, search)
    for row, ids in zip(source, found, strict=True):
        worth = {e: search.worth(logs_of(model, row, e).sum(), len(e)) for e in every}
        best = max(worth, key=lambda e: worth[e])
        assert worth[(*ids, END)] == pytest.approx(worth[best], abs=1e-4)


def test_one_beam_is_greedy_and_batches_change_nothing(model, source):
    search = Search(BEGIN, END, (0, BEGIN))
    together = greedy(Decoder(model, 3, 8, 1, T), source, search)
    assert together == beam_search(Decoder(model, 3, 8, 1, T), source, search)
    three = beam_search(Decoder(model, 3, 8, 3, T), source, search)
    one = Decoder(model, 1, 8, 3, T)
    assert three == [beam_search(one, source[n:n + 1], search)[0] for n in range(3)]
    assert all(0 not in ids and BEGIN not in ids and END not in ids and len(ids) <= T for ids in (*together, *three))


def test_attention_is_that_of_the_network(model, source):
    weights = attention(model, source[1], [BEGIN, 1, 2])
    assert weights.shape[2:] == (3, 8) and weights.shape[:2] in ((2, 2), (1, 1))
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-5)
    assert not weights[..., 5:].any() and weights[..., :5].all()


def test_what_is_no_translator():
    with pytest.raises(UsageError, match="no architecture"):
        translator("rnn", 5, 5, 4, 4, layers=1, width=8, dropout=0.0)
    ids = Input((4,), "int32")
    with pytest.raises(UsageError, match="no translator"):
        Decoder(Model(ids, CausalLM(5, 4, 1, 1, 8)(ids)), 1, 4, 1, 4)
