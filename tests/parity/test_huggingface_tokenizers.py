"""Vocabularies learned by Hugging Face's `tokenizers`, and ours written to its file: equal ids and texts on many texts."""
import json
from pathlib import Path

import pytest
import tokenizers

from dlcore.data.text import TextTokenizer

DATA = Path(__file__).parent.parent / "data" / "text"
TEXTS = [line for name in ("sms_400.tsv", "sib200_zho_Hans_dev.tsv") for line in (DATA / name).read_text("utf-8").splitlines()]
TEXTS += json.loads((DATA / "huggingface.json").read_text("utf-8"))["samples"]
MAKERS = {
    "bpe": lambda: TextTokenizer.train("bpe", TEXTS, 900), "bpe, lower case": lambda: TextTokenizer.train("bpe", TEXTS, 900, True),
    "wordpiece": lambda: TextTokenizer.train("wordpiece", TEXTS, 900),
    "wordpiece, lower case": lambda: TextTokenizer.train("wordpiece", TEXTS, 900, True),
    "words": lambda: TextTokenizer.words(TEXTS, 900), "words, case kept": lambda: TextTokenizer.words(TEXTS, 900, lowercase=False),
    "characters": lambda: TextTokenizer.characters(TEXTS, 300), "bytes": TextTokenizer.bytes,
}


@pytest.mark.parametrize("name", MAKERS)
def test_equal_ids_and_texts(name, tmp_path):
    ours = MAKERS[name]()
    ours.save(tmp_path / "tokenizer.json")
    theirs = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for text in TEXTS:
        ids = ours.encode(text)
        assert ids == theirs.encode(text).ids
        assert ours.decode(ids) == theirs.decode(ids)
