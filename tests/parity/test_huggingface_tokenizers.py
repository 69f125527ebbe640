"""Vocabularies learned by Hugging Face's `tokenizers`, and ours written to its file: equal ids and texts on many texts."""
import json
from pathlib import Path

import numpy as np
import pytest
import tokenizers

from dlcore.data.text import TextTokenizer
from dlcore.tasks import LanguageModel

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


def test_a_language_model_of_lines_learns_its_bpe_vocabulary():
    """The line feeds that lines begin and end with are tokens of it."""
    text = "\n".join(["ada", "emmy", "grace", "alan", "kurt"] * 12)
    model = LanguageModel(tokenizer="bpe", vocabulary=270, begin="line", context=8, layers=1, heads=1, width=16, steps=4,
                          eval_every=4).fit(text)
    assert model.evaluate("ada\nemmy")["loss"] == pytest.approx(np.log(len(model.tokenizer_)), rel=0.2)
    assert model.generate("ad", 4).startswith("ad")
