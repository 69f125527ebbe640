"""Padding, windows and buckets; Keras' Tokenizer and TextVectorization, results worked out by hand or as Keras gives them."""
import numpy as np
import pytest

from dlcore.data.text import TextVectorization, Tokenizer, buckets, pad_sequences, text_to_word_sequence, waste, windows
from dlcore.errors import DataError, UsageError

ROWS = [[1], [2, 3], [4, 5, 6]]


def test_padding_and_truncation():
    assert pad_sequences(ROWS).tolist() == [[0, 0, 1], [0, 2, 3], [4, 5, 6]]
    assert pad_sequences(ROWS, padding="post").tolist() == [[1, 0, 0], [2, 3, 0], [4, 5, 6]]
    assert pad_sequences(ROWS, 2).tolist() == [[0, 1], [2, 3], [5, 6]]
    assert pad_sequences(ROWS, 2, truncating="post", value=9).tolist() == [[9, 1], [2, 3], [4, 5]]
    assert pad_sequences([[[1, 2]], []], dtype="float32").shape == (2, 1, 2)
    assert pad_sequences(ROWS).dtype == np.int32


@pytest.mark.parametrize("make, message", [
    (lambda: pad_sequences(ROWS, padding="left"), "on a side"), (lambda: pad_sequences(ROWS, 0), "positive"),
    (lambda: windows(ROWS, 2, 3), "stride"), (lambda: windows(ROWS, 2).pool(np.ones((4, 1)), "sum"), "pooled"),
    (lambda: buckets([3], 0), "from 1"),
])
def test_bad_arguments(make, message):
    with pytest.raises(UsageError, match=message):
        make()


def test_bad_sequences():
    with pytest.raises(DataError, match="no sequence") as error:
        pad_sequences([[1], 2])
    assert "row 1" in str(error.value)
    with pytest.raises(DataError, match="different shapes"):
        pad_sequences([[[1, 2]], [[1]]])


def test_windows_cover_every_text_and_are_pooled():
    cut = windows([[1, 2, 3, 4, 5], [6], []], 3, 2)
    assert cut.ids.tolist() == [[1, 2, 3], [3, 4, 5], [6, 0, 0], [0, 0, 0]]
    assert cut.document.tolist() == [0, 0, 1, 2]
    assert cut.pool(np.array([[1.0], [3.0], [5.0], [7.0]])).tolist() == [[2.0], [5.0], [7.0]]
    assert cut.pool(np.array([[1.0], [3.0], [5.0], [7.0]]), "max").tolist() == [[3.0], [5.0], [7.0]]
    rng = np.random.default_rng(0)
    texts = [list(range(1, n + 1)) for n in rng.integers(1, 40, 50)]
    cut = windows(texts, 7, 3)
    for n, text in enumerate(texts):
        assert set(cut.ids[cut.document == n].ravel()) - {0} == set(text)


def test_buckets_hold_every_row_once_and_save_padding():
    lengths = np.random.default_rng(0).gamma(2, 10, 1000).astype(int) + 1
    found = buckets(lengths, 4, longest=64)
    rows = np.concatenate([b.rows for b in found])
    assert sorted(rows) == list(range(1000)) and len(found) <= 4
    assert all((np.minimum(lengths[b.rows], 64) <= b.length).all() for b in found)
    assert waste(lengths, found) < 0.6 * waste(lengths, buckets(lengths, 1, longest=64))


def test_keras_tokenizer():
    made = Tokenizer(num_words=4, oov_token="?")
    made.fit_on_texts(["The cat sat on the mat.", "The dog!"])
    assert made.word_index == {"?": 1, "the": 2, "cat": 3, "sat": 4, "on": 5, "mat": 6, "dog": 7}
    assert made.texts_to_sequences(["the cat sat"]) == [[2, 3, 1]]
    assert made.sequences_to_texts([[2, 3, 1]]) == ["the cat ?"]
    assert made.texts_to_matrix(["the cat the dog"], "count").tolist() == [[0, 1, 2, 1]]
    assert made.texts_to_matrix(["the the cat dog"], "freq").tolist() == [[0, 0.25, 0.5, 0.25]]
    np.testing.assert_allclose(made.texts_to_matrix(["the the"], "tfidf")[0, 2], (1 + np.log(2)) * np.log(1 + 2 / 3))
    assert Tokenizer(char_level=True).texts_to_sequences(["x"]) == [[]]
    assert text_to_word_sequence("Don't stop, me_now") == ["don't", "stop", "me", "now"]


def test_keras_text_vectorization():
    made = TextVectorization(max_tokens=6, output_sequence_length=4)
    made.adapt(["foo bar", "bar baz!", "Baz bada boom"])
    assert made.get_vocabulary() == ["", "[UNK]", "baz", "bar", "foo", "boom"]
    assert made(["foo qux bar", "baz"]).tolist() == [[4, 1, 3, 0], [2, 0, 0, 0]]
    assert made("foo").tolist() == [4, 0, 0, 0]
    hot = TextVectorization(output_mode="multi_hot", vocabulary=["a", "b"])
    assert hot(["a a c", "b"]).tolist() == [[1, 1, 0], [0, 0, 1]]
    assert TextVectorization(output_mode="count", vocabulary=["a", "b"])(["a a c"]).tolist() == [[1, 2, 0]]
    pairs = TextVectorization(ngrams=2, vocabulary=["a", "a b"])
    assert pairs(["a b"]).tolist() == [[2, 1, 3]]
    idf = TextVectorization(output_mode="tf_idf", vocabulary=["a", "b"], idf_weights=[0.5, 1.5])
    np.testing.assert_allclose(idf(["a a c"]), [[1.0, 1.0, 0.0]])
    with pytest.raises(UsageError, match="no vocabulary yet"):
        TextVectorization()(["a"])
    with pytest.raises(UsageError, match="a word twice"):
        TextVectorization(vocabulary=["a", "a"])
    with pytest.raises(UsageError, match="no output_mode"):
        TextVectorization(output_mode="onehot")
