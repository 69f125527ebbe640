"""Tokenizers as models are published with them: a folder's `tokenizer.json`, or the older files that hold the same."""
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dlcore.data.text.tokenizer import BERT_WORDS, TextTokenizer, added_token, byte_level, description
from dlcore.errors import ModelFileError

_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def of_folder(folder: str | Path) -> TextTokenizer:
    """From tokenizer.json, else vocab.json and merges.txt (GPT-2), else vocab.txt (BERT).   ModelFileError where there is none."""
    place = Path(folder)
    if (place / "tokenizer.json").is_file():
        return TextTokenizer.from_file(place)
    if (place / "vocab.json").is_file() and (place / "merges.txt").is_file():
        return byte_pairs(place / "vocab.json", place / "merges.txt")
    if (place / "vocab.txt").is_file():
        return word_pieces(place / "vocab.txt", settings(place))
    if (place / "tokenizer.model").is_file():
        raise ModelFileError("the tokenizer is a SentencePiece model, which is not read here", where=str(place / "tokenizer.model"),
                             expected="tokenizer.json", hint="save it as that: AutoTokenizer.from_pretrained(folder, use_fast=True)"
                             ".save_pretrained(folder) in transformers")
    raise ModelFileError("the folder has no tokenizer", where=str(place),
                         expected="tokenizer.json, or vocab.json and merges.txt, or vocab.txt")


def settings(place: Path) -> dict[str, Any]:
    """What tokenizer_config.json says; nothing where it is not there."""
    path = place / "tokenizer_config.json"
    try:
        found = json.loads(path.read_bytes()) if path.is_file() else {}
    except ValueError as error:
        raise ModelFileError("this file is not JSON", where=str(path), got=str(error)[:120]) from None
    return found if isinstance(found, dict) else {}


def byte_pairs(vocabulary: Path, merges: Path) -> TextTokenizer:
    """GPT-2's byte-level BPE.   ModelFileError"""
    try:
        tokens = json.loads(vocabulary.read_bytes())
        lines = merges.read_text(encoding="utf-8").split("\n")
    except (OSError, ValueError) as error:
        raise ModelFileError("the vocabulary cannot be read", where=str(vocabulary), got=str(error)[:120]) from None
    pairs = [line.split(" ") for line in lines if line and not line.startswith("#version")]
    end = "<|endoftext|>"
    added = [added_token(end, tokens[end])] if isinstance(tokens, dict) and end in tokens else []
    return TextTokenizer(description({"type": "BPE", "vocab": tokens, "merges": pairs}, pre_tokenizer=byte_level(),
                                     decoder=byte_level(), added=added), str(vocabulary))


def word_pieces(path: Path, config: dict[str, Any]) -> TextTokenizer:
    """BERT's: one token a line, its line is its id.   ModelFileError"""
    try:
        tokens = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise ModelFileError("the vocabulary cannot be read", where=str(path), got=str(error)[:120]) from None
    vocabulary = {token: i for i, token in enumerate(tokens)}
    if lacking := [t for t in ("[UNK]", "[CLS]", "[SEP]") if t not in vocabulary]:
        raise ModelFileError("the vocabulary is none of BERT's", where=str(path), got=f"without {', '.join(lacking)}")
    clean = {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": config.get("tokenize_chinese_chars", True),
             "strip_accents": config.get("strip_accents"), "lowercase": config.get("do_lower_case", True)}
    made = description({"type": "WordPiece", "vocab": vocabulary, "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                        "max_input_chars_per_word": 100}, clean, BERT_WORDS, {"type": "WordPiece", "prefix": "##", "cleanup": True},
                       [added_token(t, vocabulary[t]) for t in _SPECIAL if t in vocabulary])
    cls, sep = (["[CLS]", vocabulary["[CLS]"]], ["[SEP]", vocabulary["[SEP]"]])
    made["post_processor"] = {"type": "BertProcessing", "cls": cls, "sep": sep}
    return TextTokenizer(made, str(path))


def cut_to(tokenizer: TextTokenizer, length: int | None) -> TextTokenizer:
    """The same tokenizer, whose texts have at most `length` ids, special ones among them (None: any number), and no padding."""
    cut = None if length is None else {"direction": "Right", "max_length": length, "strategy": "LongestFirst", "stride": 0}
    return TextTokenizer({**tokenizer.to_json(), "truncation": cut, "padding": None})
