"""Looking through pictures before they are trained on: counts, sizes, broken files, duplicates, leakage between parts."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dlcore.data.dataset import Dataset
from dlcore.data.findings import ERROR, NOTE, WARNING, Report, plural
from dlcore.data.image_folder import Listing
from dlcore.data.pictures import decode, read_head
from dlcore.errors import DataError

FEW, UNBALANCED, LEAK = 20, 50, 0.01


@dataclass
class Part:
    """names: places of the pictures; keys: digests of their pixels, None for broken ones."""

    name: str
    source: str
    names: Sequence[Any]
    labels: list[str]
    keys: list[bytes | None]


@dataclass
class Looked:
    """What files of pictures hold, each decoded.  keys, sizes: one for each file, None where it is broken; reasons: why, by number;
    odd: turned, of 16 bits or with a palette; plain: of one colour."""

    keys: list[bytes | None] = field(default_factory=list)
    sizes: list[tuple[int, int] | None] = field(default_factory=list)
    reasons: dict[int, str] = field(default_factory=dict)
    odd: list[int] = field(default_factory=list)
    plain: list[int] = field(default_factory=list)


def look_through(files: Sequence[Path]) -> Looked:
    """Decodes every file; broken ones raise nothing."""
    looked = Looked()
    for i, path in enumerate(files):
        try:
            head, pixels = read_head(path), decode(path, True)
        except DataError as error:
            looked.reasons[i] = error.got or error.message
            looked.keys.append(None)
            looked.sizes.append(None)
            continue
        looked.sizes.append(head.size)
        looked.keys.append(_digest(pixels))
        if head.turned or head.mode == "P" or head.mode.startswith("I"):
            looked.odd.append(i)
        if (pixels == pixels[0, 0]).all():
            looked.plain.append(i)
    return looked


def add_broken(report: Report, part: Part, looked: Looked) -> None:
    """Findings about files that cannot be read."""
    if looked.reasons:
        message = f"{plural(len(looked.reasons), 'picture')} cannot be read"
        report.add("DL-D20", ERROR, message, part.source, _places(part, list(looked.reasons)), list(looked.reasons.values()))


def add_odd(report: Report, part: Part, looked: Looked) -> None:
    """Findings about pictures that are stored in another way than most."""
    if looked.odd:
        report.add(
            "DL-D24",
            NOTE,
            f"{plural(len(looked.odd), 'picture is', 'pictures are')} turned by EXIF, of 16 bits or with a palette",
            part.source,
            _places(part, looked.odd),
        )


def check_folder(listings: Mapping[str, tuple[str, Listing]]) -> Report:
    """Pictures in files: every one is decoded.  Broken ones are errors of the report, not exceptions."""
    report, parts = Report(), []
    for name, (source, listing) in listings.items():
        looked = look_through(listing.files)
        part = Part(name, source, [str(f) for f in listing.files], list(listing.labels), looked.keys)
        parts.append(part)
        add_broken(report, part, looked)
        if listing.empty:
            report.add(
                "DL-D21",
                WARNING,
                f"{plural(len(listing.empty), 'folder holds', 'folders hold')} no pictures",
                source,
                listing.empty,
            )
        add_odd(report, part, looked)
        sizes = Counter(size for size in looked.sizes if size is not None)
        usual = sizes.most_common(1)[0][0] if sizes else None
        others = [i for i, size in enumerate(looked.sizes) if size is not None and size != usual]
        if others:
            assert usual is not None
            report.add(
                "DL-D22",
                NOTE,
                f"{plural(len(others), 'picture has', 'pictures have')} another size than {usual[0]}x{usual[1]}",
                source,
                _places(part, others),
                ["x".join(map(str, looked.sizes[i] or ())) for i in others[:100]],
            )
        _one_part(report, part, looked.plain, sizes)
    compare_all(report, parts)
    return report


def check_arrays(datasets: Mapping[str, Dataset]) -> Report:
    """Images in arrays (idx, npz, caches); rows count from 0."""
    report, parts = Report(), []
    for name, data in datasets.items():
        x = data.x
        assert isinstance(x, np.ndarray)
        keys: list[bytes | None] = [_digest(image) for image in x]
        labels = [] if data.y is None else [str(v) for v in data.y.tolist()]
        part = Part(name, data.source, range(len(x)), labels, keys)
        parts.append(part)
        flat = x.reshape(len(x), -1)
        plain = np.flatnonzero((flat == flat[:, :1]).all(1)).tolist() if flat.shape[1] else []
        _one_part(report, part, plain, Counter({(int(x.shape[1]), int(x.shape[2])): len(x)}))
    compare_all(report, parts)
    return report


def _digest(pixels: np.ndarray) -> bytes:
    return hashlib.blake2b(
        repr(pixels.shape).encode() + np.ascontiguousarray(pixels).tobytes(), digest_size=16
    ).digest()


def _places(part: Part, rows: Sequence[int]) -> list[Any]:
    return [part.names[i] for i in rows]


def _labelled(part: Part, rows: Sequence[int]) -> list[str]:
    return [part.labels[i] for i in rows[:100]] if part.labels else []


def _one_part(report: Report, part: Part, plain: list[int], sizes: Counter[tuple[int, int]]) -> None:
    counts = dict(sorted(Counter(part.labels).items()))
    histogram = {f"{h}x{w}": n for (h, w), n in sizes.most_common(20)}
    report.summary[part.name] = {"source": part.source, "rows": len(part.keys), "classes": counts, "sizes": histogram}
    if plain:
        report.add(
            "DL-D23",
            WARNING,
            f"{plural(len(plain), 'picture has', 'pictures have')} one colour only",
            part.source,
            _places(part, plain),
            _labelled(part, plain),
        )
    if part.name == "train" and counts:
        for label, count in sorted(counts.items(), key=lambda item: item[1]):
            if count < FEW:
                rows = [i for i, v in enumerate(part.labels) if v == label]
                report.add(
                    "DL-D07",
                    WARNING,
                    f"label {label!r} has {plural(count, 'picture')}; fewer than {FEW} is unlikely to be learned",
                    part.source,
                    _places(part, rows),
                )
        if len(counts) == 1:
            report.add(
                "DL-D08",
                ERROR,
                f"all pictures have the label {next(iter(counts))!r}: there is nothing to tell apart",
                part.source,
            )
        elif max(counts.values()) > UNBALANCED * min(counts.values()):
            report.add(
                "DL-D08",
                WARNING,
                f"the largest class has {max(counts.values()) / min(counts.values()):,.0f} times the pictures of "
                "the smallest: accuracy will mislead",
                part.source,
            )
    add_repeated(report, part)
    shown = ", ".join(f"{size} {n:,}" for size, n in list(histogram.items())[:5]) + (" ..." if len(sizes) > 5 else "")
    spread = f"{len(counts)} classes, {min(counts.values()):,}-{max(counts.values()):,} each" if counts else "no labels"
    report.lines.append(f"{part.name}: {plural(len(part.keys), 'picture')} of {part.source} · {spread} · sizes {shown}")


def add_repeated(report: Report, part: Part) -> None:
    """Findings about pictures of equal pixels within a part."""
    first: dict[bytes, int] = {}
    again, conflicts = [], []
    for i, key in enumerate(part.keys):
        if key is None:
            continue
        if key in first:
            again.append(i)
            if part.labels and part.labels[i] != part.labels[first[key]]:
                conflicts.append(i)
        else:
            first[key] = i
    if conflicts:
        report.add(
            "DL-D13",
            WARNING,
            f"{plural(len(conflicts), 'picture')} occur with different labels",
            part.source,
            _places(part, conflicts),
            _labelled(part, conflicts),
        )
    if again:
        report.add(
            "DL-D06",
            WARNING,
            f"{plural(len(again), 'picture is', 'pictures are')} equal to an earlier one",
            part.source,
            _places(part, again),
            _labelled(part, again),
        )


def compare_all(report: Report, parts: list[Part]) -> None:
    """Pictures and labels of every two parts."""
    for i, train in enumerate(parts):
        for other in parts[i + 1 :]:
            known = {key: j for j, key in reversed(list(enumerate(train.keys))) if key is not None}
            shared = [j for j, key in enumerate(other.keys) if key in known]
            both = bool(train.labels and other.labels)
            conflicts = [j for j in shared if both and other.labels[j] != train.labels[known[other.keys[j]]]]  # type: ignore[index]
            if conflicts:
                report.add(
                    "DL-D11",
                    ERROR,
                    f"{plural(len(conflicts), 'picture')} appear in {train.name} and {other.name} with different labels",
                    other.source,
                    _places(other, conflicts),
                    _labelled(other, conflicts),
                )
            if shared:
                share = len(shared) / len(other.keys)
                report.add(
                    "DL-D12",
                    ERROR if share >= LEAK else WARNING,
                    f"{plural(len(shared), 'picture')} of {other.name} ({share:.1%}) "
                    f"{'is' if len(shared) == 1 else 'are'} in {train.name} too: scores will be too good",
                    other.source,
                    _places(other, shared),
                    _labelled(other, shared),
                )
            new = sorted(set(other.labels) - set(train.labels)) if both and train.name == "train" else []
            if new:
                rows = [j for j, label in enumerate(other.labels) if label in new]
                report.add(
                    "DL-D14",
                    ERROR,
                    f"{plural(len(new), 'label')} of {other.name} ({', '.join(new[:5])}) not in train",
                    other.source,
                    _places(other, rows),
                )
