"""Pairs of sentences: what is read, by which names, and that no sentence is in two parts."""
from pathlib import Path

import numpy as np
import pytest

from dlcore.data.pairs import digest, divide, families, language_of, plain_form, read_pairs, read_sentences
from dlcore.errors import DataError

FILE = Path(__file__).parent.parent / "data/translation/tatoeba_en_zh_400.tsv"


@pytest.fixture
def written(tmp_path):
    def write(name, text):
        place = tmp_path / name
        place.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(place)
    return write


def test_columns_without_names_are_called_by_language():
    data = read_pairs(FILE)
    assert data.label == "english,chinese" and len(data) == 400 and (data.x[0], data.y[0]) == ("How cute!", "多可爱啊！")
    assert any("told by the text" in note for note in data.notes)
    for source, target in (("chinese", "english"), ("zh", "en"), ("", "english")):
        back = read_pairs(FILE, source, target)
        assert back.label == "chinese,english" and back.x[0] == "多可爱啊！"


@pytest.mark.parametrize(("name", "text"), [
    ("a.csv", 'source,target\n"Hi, you.",Salut toi.\nNo.,Non.\n'), ("a.tsv", "target\tsource\nSalut toi.\tHi, you.\nNon.\tNo.\n"),
    ("a.jsonl", '{"source": "Hi, you.", "target": "Salut toi."}\n{"source": "No.", "target": "Non."}\n'),
    ("a.tsv", "Hi, you.\tSalut toi.\nNo.\tNon.\n")])
def test_forms(written, name, text):
    data = read_pairs(written(name, text))
    assert data.x.tolist() == ["Hi, you.", "No."] and data.y.tolist() == ["Salut toi.", "Non."]


def test_names_of_the_file_go_before_codes(written):
    data = read_pairs(written("a.csv", "de,en\nein Haus,a house\n"), "english", "de")
    assert data.label == "en,de" and data.x[0] == "a house"


@pytest.mark.parametrize(("texts", "language"), [
    (["he is the one that I saw"], "english"), (["le chat est sur la table et il ne dort pas"], "french"),
    (["これは本です"], "japanese"),
    (["这是一本书"], "chinese"), (["это книга"], "russian"), (["tatoeba.org #12"], ""), (["123"], "")])
def test_languages(texts, language):
    assert language_of(texts) == language


@pytest.mark.parametrize(("name", "text", "columns", "words"), [
    ("a.tsv", "Hi.\t你好。\n", ("klingon", ""), ["klingon", "chinese"]),
    ("a.tsv", "Hi.\t你好。\n", ("chinese", "zh"), ["same column"]),
    ("a.tsv", "Hi.\t你好。\nNo.\t\n", ("", ""), ["empty", "row 2"]),
    ("a.tsv", "Hi.\t你好。\nNo.\n", ("", ""), ["too short", "row 2"]),
    ("a.tsv", b"Hi.\tS\xe9.\n", ("", ""), ["UTF-8", "row 1"]), ("a.csv", "source\nHi.\n", ("", ""), ["no column of translations"]),
    ("a.csv", "", ("", ""), ["empty"]), ("a.csv", "source,target\n", ("", ""), ["no rows"])])
def test_what_is_refused(written, name, text, columns, words):
    with pytest.raises(DataError) as caught:
        read_pairs(written(name, text), *columns)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_sentences_to_translate(written):
    assert read_sentences(written("a.txt", "Hi, you.\nNo.\n\n"), "english").x.tolist() == ["Hi, you.", "No."]
    assert read_sentences(str(FILE), "english").x[1] == "He's lazy."
    assert read_sentences(written("a.csv", "text\nHi.\n"), "english").x.tolist() == ["Hi."]
    for text, words in (("Hi.\n\nNo.\n", "line 2"), ("\n", "nothing to translate"), ("ein Haus.\tb c.\n", "no column")):
        with pytest.raises(DataError, match=words):
            read_sentences(written("b.txt", text), "english")


def test_no_sentence_is_in_two_parts():
    sources = ["Hi.", "hi", "Hello.", "Go!", "Run.", "Stop"] * 3 + [f"sentence {n}" for n in range(60)]
    targets = ["A", "B", "b!", "C", "c", "D"] * 3 + [f"t{n}" for n in range(60)]
    family, keys = families(sources, targets)
    assert family[0] == family[1] == family[2] and family[3] == family[4] != family[0] and len(keys) == 63
    train, held = divide(sources, targets, 0.3)
    assert sorted([*train, *held]) == list(range(78)) and round(0.3 * 78) <= len(held) <= 0.3 * 78 + 9
    for texts in (sources, targets):
        assert not {plain_form(texts[n]) for n in train} & {plain_form(texts[n]) for n in held}


def test_the_division_knows_neither_order_nor_direction():
    data = read_pairs(FILE)
    held = {(data.x[n], data.y[n]) for n in divide(data.x, data.y, 0.1)[1]}
    order = np.random.default_rng(0).permutation(len(data))
    x, y = data.x[order], data.y[order]
    assert {(x[n], y[n]) for n in divide(x, y, 0.1)[1]} == held == {(x[n], y[n]) for n in divide(y, x, 0.1)[1]}
    assert {(x[n], y[n]) for n in divide(x, y, 0.1, 1)[1]} != held
    assert digest(data) == digest(data.take(order)) != digest(data.take(order[1:]))


def test_what_cannot_be_divided():
    with pytest.raises(DataError, match="in common"):
        divide(["a", "a"], ["b", "c"], 0.5)
