"""Lists of ids as arrays: padding, truncation, windows over long texts, batches of texts of similar length."""
from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dlcore.errors import DataError, UsageError

SIDES = ("pre", "post")
POOLS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"mean": lambda p: p.mean(0), "max": lambda p: p.max(0)}


def pad_sequences(sequences: Iterable[Sequence[Any]], maxlen: int | None = None, dtype: Any = "int32", padding: str = "pre",
                  truncating: str = "pre", value: float = 0.0) -> np.ndarray:
    """Sequences of different lengths as one array [N, maxlen, ...], with Keras' semantics.

    maxlen      length of all; None: that of the longest
    padding     "pre" or "post": on which side `value` fills up what is short
    truncating  "pre" or "post": on which side what is too long is cut
    Raises UsageError (sides, maxlen), DataError (something that is no sequence, shapes that differ)."""
    for name, side in (("padding", padding), ("truncating", truncating)):
        if side not in SIDES:
            raise UsageError(f"{name} is on a side", expected=" or ".join(SIDES), got=repr(side))
    if maxlen is not None and maxlen < 1:
        raise UsageError("maxlen is a positive length", got=repr(maxlen))
    rows = list(sequences)
    for n, row in enumerate(rows):
        if not hasattr(row, "__len__"):
            raise DataError("this is no sequence", where=f"row {n}", got=type(row).__name__)
    longest = max((len(r) for r in rows), default=0) if maxlen is None else maxlen
    shape: tuple[int, ...] = next((np.shape(r)[1:] for r in rows if len(r)), ())
    out = np.full((len(rows), longest, *shape), value, dtype)
    for n, row in enumerate(rows):
        kept = np.asarray(row[max(0, len(row) - longest):] if truncating == "pre" else row[:longest], dtype)
        if not len(kept):
            continue
        if kept.shape[1:] != shape:
            raise DataError("the sequences hold things of different shapes", where=f"row {n}", expected=str(shape),
                            got=str(kept.shape[1:]))
        if padding == "post":
            out[n, :len(kept)] = kept
        else:
            out[n, longest - len(kept):] = kept
    return out


@dataclass(frozen=True)
class Windows:
    """Long texts in pieces.   ids: i32[M, size], 0 where a window ends early;  document: i64[M], ascending: whose it is."""

    ids: np.ndarray
    document: np.ndarray

    def pool(self, predictions: np.ndarray, how: str = "mean") -> np.ndarray:
        """One prediction [N, ...] per document of those [M, ...] of its windows."""
        if how not in POOLS:
            raise UsageError("windows are not pooled so", expected=", ".join(POOLS), got=repr(how))
        starts = np.flatnonzero(np.r_[True, self.document[1:] != self.document[:-1]])
        return np.stack([POOLS[how](part) for part in np.split(predictions, starts[1:])])


def windows(sequences: Sequence[Sequence[int]], size: int, stride: int | None = None, value: int = 0) -> Windows:
    """Windows of `size` ids, `stride` apart (half a window by default); the last one ends where the text ends.

    A text that fits, and an empty one, is one window.   Raises UsageError."""
    stride = max(1, size // 2) if stride is None else stride
    if size < 1 or not 1 <= stride <= size:
        raise UsageError("windows have a size and a stride", expected="1 <= stride <= size", got=f"size {size}, stride {stride}")
    parts, document = [], []
    for n, ids in enumerate(sequences):
        last = max(0, len(ids) - size)
        starts = [*range(0, last, stride), last]
        parts += [ids[s:s + size] for s in starts]
        document += [n] * len(starts)
    return Windows(pad_sequences(parts, size, padding="post", value=value), np.asarray(document))


@dataclass(frozen=True)
class Bucket:
    """Rows that are padded to one length."""

    length: int
    rows: np.ndarray


def buckets(lengths: Sequence[int] | np.ndarray, count: int = 4, longest: int | None = None, grain: int = 8) -> list[Bucket]:
    """Rows by length, in at most `count` groups of about equal numbers; each is padded to its longest row, rounded up to
    `grain`, but not beyond `longest`.   Raises UsageError."""
    if count < 1 or grain < 1:
        raise UsageError("buckets have a number and a grain", expected="from 1", got=f"{count}, {grain}")
    sizes = np.maximum(1, np.asarray(lengths, np.int64))
    cap = int(sizes.max(initial=1)) if longest is None else longest
    rounded = np.minimum(-(-sizes // grain) * grain, cap)
    wanted = sorted({int(q) for q in np.quantile(rounded, np.arange(1, count + 1) / count, method="higher")}) if len(sizes) else []
    found, low = [], 0
    for length in wanted:
        rows = np.flatnonzero((rounded > low) & (rounded <= length))
        if len(rows):
            found.append(Bucket(length, rows))
        low = length
    return found


def waste(lengths: Sequence[int] | np.ndarray, found: Sequence[Bucket]) -> float:
    """The share of positions that are padding."""
    sizes = np.asarray(lengths, np.int64)
    whole = sum(b.length * len(b.rows) for b in found)
    used = sum(int(np.minimum(sizes[b.rows], b.length).sum()) for b in found)
    return 1 - used / whole if whole else 0.0
