"""BLEU and chrF of whole corpora, with sacrebleu's semantics (Post, A call for clarity in reporting BLEU scores, 2018).

    BLEU   Papineni et al., 2002: the geometric mean of the precisions of 1- to 4-grams over all sentences together, times a penalty
           where the translations are shorter than the references.  A precision of 0 is smoothed: the k-th one counts as half to
           the k-th power of a match ("exp", NIST's way)
    chrF   Popovic, 2015: F2 of character n-grams up to 6, spaces left out; precision and recall are means over the orders
    that occur

One reference for each translation.  Texts are cut into words as "13a" (mteval-v13a, for languages with spaces) or "zh" (each
Chinese character alone) say.
"""
from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from dlcore.errors import DataError, UsageError

WORD_ORDER, CHARACTER_ORDER, BETA = 4, 6, 2
# blocks of characters that "zh" sets apart.  2001-2A6D and 2F81-2FA1 (curly quotes, arrows, ... among them) are no Chinese:
# sacrebleu means the planes 20000-2A6D6 and 2F800-2FA1D, and this is what its comparison comes to; equal scores need equal words
_CHINESE = ((0x3400, 0x4DB5), (0x4E00, 0x9FBB), (0xF900, 0xFA2D), (0xFA30, 0xFA6A), (0x2001, 0x2A6D), (0x2F81, 0x2FA1),
            (0xFF00, 0xFFEF), (0x2E80, 0x2EFF), (0x3000, 0x303F), (0x31C0, 0x31EF), (0x2F00, 0x2FDF), (0x2FF0, 0x2FFF),
            (0x3100, 0x312F), (0x31A0, 0x31BF), (0xFE10, 0xFE1F), (0xFE30, 0xFE4F), (0x2600, 0x26FF), (0x2700, 0x27BF),
            (0x3200, 0x32FF), (0x3300, 0x33FF))
_ONE_CHINESE = re.compile("([" + "".join(f"{chr(low)}-{chr(high)}" for low, high in _CHINESE) + "])")
_ENTITIES = (("&quot;", '"'), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">"))
_APART = ((re.compile(r"([{-~\[-` -&(-+:-@/])"), r" \1 "),             # marks, but for ' - . and ,
          (re.compile(r"([^0-9])([.,])"), r"\1 \2 "),                   # . and , where no digit stands before
          (re.compile(r"([.,])([^0-9])"), r" \1 \2"),                   # or none behind
          (re.compile(r"([0-9])(-)"), r"\1 \2 "))


def _words(line: str) -> list[str]:
    for pattern, replacement in _APART:
        line = pattern.sub(replacement, line)
    return line.split()


def _international(line: str) -> list[str]:
    line = line.rstrip().replace("<skipped>", "").replace("-\n", "").replace("\n", " ")
    for entity, character in _ENTITIES:
        line = line.replace(entity, character)
    return _words(f" {line} ")


def _chinese(line: str) -> list[str]:
    return _words(_ONE_CHINESE.sub(r" \1 ", line.strip()))


TOKENIZERS: dict[str, Callable[[str], list[str]]] = {"13a": _international, "zh": _chinese,
                                                     "char": lambda s: list("".join(s.split())),
                                                     "none": str.split}


def bleu_score(references: Sequence[str], translations: Sequence[str], tokenize: str = "13a") -> float:
    """BLEU of a corpus, 0 to 100.   tokenize: "13a", "zh", "char" or "none" (words between spaces).   DataError, UsageError"""
    return bleu_details(references, translations, tokenize)["bleu"]


def bleu_details(references: Sequence[str], translations: Sequence[str], tokenize: str = "13a") -> dict[str, Any]:
    """bleu, precisions (of 1- to 4-grams, in percent), brevity_penalty, and the words of translations and references."""
    _check(references, translations)
    if tokenize not in TOKENIZERS:
        raise UsageError("BLEU does not cut texts so", expected=", ".join(TOKENIZERS), got=repr(tokenize))
    cut = TOKENIZERS[tokenize]
    right, all_of, lengths = [0] * WORD_ORDER, [0] * WORD_ORDER, [0, 0]
    for reference, translation in zip(references, translations, strict=True):
        wanted, made = cut(reference), cut(translation)
        lengths[0] += len(made)
        lengths[1] += len(wanted)
        for n in range(WORD_ORDER):
            ours, theirs = _ngrams(made, n + 1), _ngrams(wanted, n + 1)
            all_of[n] += sum(ours.values())
            right[n] += sum(min(count, theirs[gram]) for gram, count in ours.items() if gram in theirs)
    precisions = _smoothed(right, all_of)
    penalty = 1.0 if lengths[0] >= lengths[1] else math.exp(1 - lengths[1] / lengths[0]) if lengths[0] else 0.0
    found = 0.0
    if any(right) and all(precisions):
        found = penalty * math.exp(sum(map(math.log, precisions)) / WORD_ORDER)
    return {"bleu": found, "precisions": precisions, "brevity_penalty": penalty, "words": lengths[0], "reference_words": lengths[1]}


def chrf_score(references: Sequence[str], translations: Sequence[str]) -> float:
    """chrF2 of a corpus, 0 to 100.   DataError"""
    _check(references, translations)
    made, wanted, right = ([0] * CHARACTER_ORDER for _ in range(3))
    for reference, translation in zip(references, translations, strict=True):
        ours, theirs = "".join(translation.split()), "".join(reference.split())
        for n in range(CHARACTER_ORDER):
            a, b = _ngrams(ours, n + 1), _ngrams(theirs, n + 1)
            made[n] += sum(a.values()) if b else 0          # a reference too short for this order judges nothing
            wanted[n] += sum(b.values())
            right[n] += sum(min(count, b[gram]) for gram, count in a.items() if gram in b)
    orders = [n for n in range(CHARACTER_ORDER) if made[n] and wanted[n]]
    if not orders:
        return 0.0
    precision = sum(right[n] / made[n] for n in orders) / len(orders)
    recall = sum(right[n] / wanted[n] for n in orders) / len(orders)
    if precision + recall == 0:
        return 0.0
    return 100 * (1 + BETA ** 2) * precision * recall / (BETA ** 2 * precision + recall)


def _ngrams(units: Sequence[str], n: int) -> Counter[Any]:
    if isinstance(units, str):
        return Counter(units[i:i + n] for i in range(len(units) - n + 1))
    return Counter(tuple(units[i:i + n]) for i in range(len(units) - n + 1))


def _smoothed(right: Sequence[int], all_of: Sequence[int]) -> list[float]:
    """Precisions in percent; a corpus too short for an order has none there, and of those behind it."""
    found, half = [0.0] * WORD_ORDER, 1.0
    if not any(right):
        return found
    for n, (matches, count) in enumerate(zip(right, all_of, strict=True)):
        if count == 0:
            break
        if matches == 0:
            half *= 2
        found[n] = 100 * matches / count if matches else 100 / (half * count)
    return found


def _check(references: Sequence[str], translations: Sequence[str]) -> None:
    for name, texts in (("references", references), ("translations", translations)):
        if isinstance(texts, str):
            raise DataError(f"{name} come as a list", got="one text", hint="[text]")
        wrong = next((n for n, t in enumerate(texts) if not isinstance(t, str)), None)
        if wrong is not None:
            raise DataError(f"{name} are texts", where=f"row {wrong + 1}", expected="str", got=type(texts[wrong]).__name__)
    if len(references) != len(translations):
        raise DataError("references and translations do not fit together", expected=f"{len(references):,} translations",
                        got=f"{len(translations):,}")
    if not len(references):
        raise DataError("there are no translations to measure")
