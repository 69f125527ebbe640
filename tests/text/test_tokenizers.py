"""Tokenizers give the ids and the texts that Hugging Face's library gave (tests/data/text/make_fixtures.py)."""
import gzip
import json
from pathlib import Path

import pytest

from dlcore.data.text import TextTokenizer
from dlcore.errors import DataError, ModelFileError, UsageError

DATA = Path(__file__).parent.parent / "data" / "text"
FIXTURES = json.loads((DATA / "huggingface.json").read_text("utf-8"))
SAMPLES = FIXTURES["samples"]
TEXTS = [line for name in ("sms_400.tsv", "sib200_zho_Hans_dev.tsv") for line in (DATA / name).read_text("utf-8").splitlines()]


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gpt2")
    (folder / "vocab.bpe").write_bytes(gzip.decompress((DATA / "gpt2_vocab.bpe.gz").read_bytes()))
    return TextTokenizer.gpt2(folder)


@pytest.mark.parametrize("fixture", FIXTURES["tokenizers"], ids=lambda f: f["name"])
def test_ids_and_texts_are_hugging_faces(fixture, gpt2):
    made = gpt2 if fixture["config"] is None else TextTokenizer(fixture["config"])
    for text, ids, plain, back in zip(SAMPLES, fixture["ids"], fixture["plain"], fixture["texts"], strict=True):
        assert made.encode(text) == ids, text
        assert made.encode(text, special=False) == plain, text
        assert made.decode(ids) == back, text


def test_gpt2_ids_as_published(gpt2):
    assert len(gpt2) == 50257
    assert gpt2.encode("Hello world") == [15496, 995]
    assert gpt2.encode("<|endoftext|>") == [50256]


@pytest.mark.parametrize("made", [TextTokenizer.words(TEXTS), TextTokenizer.characters(TEXTS), TextTokenizer.bytes()],
                         ids=["words", "characters", "bytes"])
def test_a_saved_tokenizer_is_the_same(made, tmp_path):
    made.save(tmp_path / "tokenizer.json")
    again = TextTokenizer.from_file(tmp_path)
    assert [again.encode(s) for s in SAMPLES] == [made.encode(s) for s in SAMPLES]
    assert again.vocabulary == made.vocabulary
    assert (again.pad_id, again.unknown_id) == (made.pad_id, made.unknown_id)


def test_bytes_and_characters_come_back_as_they_were():
    exact = TextTokenizer.bytes()
    assert all(exact.decode(exact.encode(s)) == s for s in SAMPLES)
    letters = TextTokenizer.characters(SAMPLES)
    assert all(letters.decode(letters.encode(s), skip_special=False) == s for s in SAMPLES)


def test_words_are_counted():
    made = TextTokenizer.words(["b a a", "a B c"], size=4)
    assert made.vocabulary == {"[PAD]": 0, "[UNK]": 1, "a": 2, "b": 3}
    assert made.encode("A b, c") == [2, 3, 1, 1]
    assert TextTokenizer.words(["你好 ok"]).encode("你好ok") == [3, 4, 2]
    assert made(["a", "b a"]).tolist() == [[2, 0], [3, 2]]


def test_pairs_and_truncation():
    made = TextTokenizer(next(f["config"] for f in FIXTURES["tokenizers"] if "template" in f["name"]))
    first = made.encode("hello", special=False)
    assert made.encode("hello", "hello") == [2, *first, 3, *first, 3]
    assert len(made.encode("hello " * 50)) == 12


def test_added_tokens_strip_and_stand_alone():
    config = TextTokenizer.words(["a b"]).to_json()
    added = {"id": 9, "content": "<x>", "single_word": True, "lstrip": True, "rstrip": True, "normalized": False, "special": False}
    made = TextTokenizer({**config, "added_tokens": [*config["added_tokens"], added]})
    assert made.encode("a  <x>  b") == [2, 9, 3]
    assert made.encode("a<x>") == [2, 1, 1, 1]


@pytest.mark.parametrize("config, message", [
    ([], "no tokenizer.json"), ({"model": {"type": "Unigram", "vocab": []}}, "model that dlcore does not know"),
    ({"model": {"type": "WordLevel", "vocab": {"a": -1}}}, "vocabulary is malformed"),
    ({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["a"]}}, "merges are malformed"),
    ({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [], "dropout": 0.1}}, "by chance"),
    ({"model": {"type": "WordLevel", "vocab": {"a": 0}}, "pre_tokenizer": {"type": "Magic"}}, "pre-tokenizer that dlcore does not"),
    ({"model": {"type": "WordLevel", "vocab": {"a": 0}}, "normalizer": {"type": "Replace"}}, "Replace is malformed"),
    ({"model": {"type": "WordLevel", "vocab": {"a": 0}}, "decoder": {"type": "CTC"}}, "decoder that dlcore does not"),
    ({"model": {"type": "WordLevel", "vocab": {"a": 0}}, "added_tokens": [3]}, "malformed"),
    ({"model": {"type": "WordLevel", "vocab": {"a": 0}},
      "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated"}}, "pattern cannot be read"),
])
def test_what_makes_no_tokenizer(config, message):
    with pytest.raises(ModelFileError, match=message):
        TextTokenizer(config)


def test_files_that_are_none(tmp_path):
    with pytest.raises(ModelFileError, match="cannot be read"):
        TextTokenizer.from_file(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(ModelFileError, match="not JSON"):
        TextTokenizer.from_file(tmp_path)
    with pytest.raises(ModelFileError, match="vocab.bpe"):
        TextTokenizer.gpt2(tmp_path)


def test_bad_ids_and_texts():
    made = TextTokenizer.words(["a b"])
    with pytest.raises(DataError, match="not in the tokenizer's vocabulary") as error:
        made.decode([2, 77])
    assert "position 1" in str(error.value) and "77" in str(error.value)
    with pytest.raises(DataError, match="takes texts"):
        made.encode(3)
    with pytest.raises(DataError, match="no words"):
        TextTokenizer.words(["", " "])
    with pytest.raises(UsageError, match="cannot be learned"):
        TextTokenizer.train("unigram", ["a"])
