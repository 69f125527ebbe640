"""Learning the vocabulary of BPE and WordPiece; Hugging Face's `tokenizers` (extra "text") does it, imported when asked for."""
from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from dlcore.errors import UsageError

KINDS = ("bpe", "wordpiece")


def learned(kind: str, texts: Iterable[str], size: int, lowercase: bool, least: int, special: Sequence[str]) -> dict[str, Any]:
    """A tokenizer.json; see `TextTokenizer.train`.   UsageError"""
    if kind not in KINDS:
        raise UsageError("a vocabulary of this kind cannot be learned", expected=" or ".join(KINDS), got=repr(kind))
    try:
        import tokenizers
        from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers
    except ImportError:
        raise UsageError(f"learning a {kind} vocabulary needs the package tokenizers",
                         hint='pip install "dlcore[text]"; words, characters and bytes need nothing') from None
    options: dict[str, Any] = {"vocab_size": size, "min_frequency": least, "special_tokens": list(special), "show_progress": False}
    if kind == "bpe":
        made = tokenizers.Tokenizer(models.BPE())
        if lowercase:
            made.normalizer = normalizers.Lowercase()
        made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        trainer: Any = trainers.BpeTrainer(initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), **options)
    else:
        unknown = next((s for s in special if "unk" in s.lower()), None)
        if unknown is None:
            raise UsageError("WordPiece needs a special token for what is unknown", expected="one like [UNK]",
                             got=str(list(special)))
        made = tokenizers.Tokenizer(models.WordPiece(unk_token=unknown))
        made.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
        made.pre_tokenizer, made.decoder = pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
        trainer = trainers.WordPieceTrainer(**options)
    made.train_from_iterator(texts, trainer)
    return json.loads(made.to_str())
