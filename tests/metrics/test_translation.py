"""BLEU and chrF against sacrebleu's values, which lie frozen beside this file."""
import json
from pathlib import Path

import pytest

from dlcore.errors import DataError, UsageError
from dlcore.metrics import bleu_details, bleu_score, chrf_score

CASES = json.loads((Path(__file__).parent / "translation_sacrebleu.json").read_text(encoding="utf-8"))["cases"]


@pytest.mark.parametrize("n", range(len(CASES)))
def test_equal_to_sacrebleu(n):
    case = CASES[n]
    expected = dict(case["scores"])
    assert chrf_score(case["references"], case["translations"]) == pytest.approx(expected.pop("chrf"), rel=1e-12, abs=1e-12)
    found = bleu_details(case["references"], case["translations"], case["tokenize"])
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-12, abs=1e-12), name


def test_the_fixture_holds_all_kinds():
    scores = [case["scores"]["bleu"] for case in CASES]
    assert len(CASES) == 16 and min(scores) == 0 and max(scores) == pytest.approx(100) and sum(0 < s < 99 for s in scores) >= 8


def test_no_word_order_between_spaces():
    assert bleu_score(["a b c d e"], ["a b c d e"], "none") == pytest.approx(100)
    assert bleu_score(["天地玄黄"], ["天地玄黄"], "char") == pytest.approx(100)


@pytest.mark.parametrize(("references", "translations", "options", "error"), [
    (["a"], ["a", "b"], {}, DataError), ([], [], {}, DataError), ("a", ["a"], {}, DataError), (["a"], [None], {}, DataError),
    (["a"], ["a"], {"tokenize": "intl"}, UsageError)])
def test_what_cannot_be_measured(references, translations, options, error):
    with pytest.raises(error):
        bleu_score(references, translations, **options)
