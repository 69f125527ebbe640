"""Batches of rows of similar length: every row once, little padding, an order by seed and epoch, the same answers."""
from __future__ import annotations

import numpy as np
import pytest

from dlcore.tasks import TextClassifier
from dlcore.tasks.batches import ByLength, grouped, lengths_of

RNG = np.random.default_rng(0)
LENGTHS = RNG.integers(1, 41, 200)
IDS = np.where(np.arange(40) < LENGTHS[:, None], RNG.integers(1, 9, (200, 40)), 0).astype(np.int32)
NUMBERS = np.arange(200)


def test_lengths():
    np.testing.assert_array_equal(lengths_of(IDS), LENGTHS)
    np.testing.assert_array_equal(lengths_of(np.array([[0, 0], [0, 3], [2, 0]])), [1, 2, 1])


@pytest.mark.parametrize("seed", [None, 3])
def test_every_row_once_and_whole(seed):
    batches = ByLength(IDS, NUMBERS, NUMBERS / 2, 8, seed)
    seen = []
    for x, y, w in batches:
        assert len(x) <= 8 and x.shape[1] % 8 == 0 and np.array_equal(w, y / 2)
        np.testing.assert_array_equal(x, IDS[y, :x.shape[1]])
        assert not IDS[y, x.shape[1]:].any()
        seen += y.tolist()
    assert sorted(seen) == NUMBERS.tolist() and len(list(batches)) == len(batches)
    held = sum(x.size for x, *_ in batches)
    assert batches.padding == pytest.approx(1 - LENGTHS.sum() / held) and batches.padding < 0.5 * (1 - LENGTHS.sum() / IDS.size)


def test_the_order_is_drawn_for_seed_and_epoch():
    def order(seed, epoch):
        batches = ByLength(IDS, NUMBERS, None, 8, seed)
        batches.set_state({"epoch": epoch})
        return [row for _, y in batches for row in y.tolist()]
    assert order(1, 0) == order(1, 0) and order(1, 0) != order(1, 1) != order(2, 1)
    assert order(None, 0) == order(None, 5)


def test_few_rows_are_one_bucket():
    assert len(grouped(LENGTHS[:30], 8, 40)) == 1
    assert [b.length for b in grouped(LENGTHS, 8, 40)] == [8, 16, 24, 32, 40]


@pytest.mark.parametrize("arch", ["bilstm", "transformer"])
def test_padding_changes_no_answer(arch):
    texts = [" ".join("abcdefgh"[i - 1] for i in row[:n]) for row, n in zip(IDS, LENGTHS, strict=True)]
    labels = ["long" if n > 20 else "short" for n in LENGTHS]
    model = TextClassifier(arch=arch, embed=8, hidden=(8,), epochs=1, batch_size=8, val_split=0.1).fit(texts, labels)
    np.testing.assert_array_equal(model.predict_proba(texts), model.model.predict(model._inputs(texts)))
    np.testing.assert_array_equal(model.predict_proba(texts[:1]), model.predict_proba(texts)[:1])
