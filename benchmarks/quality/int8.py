"""Answers in bf16 and int8 beside those in float32, of the same models.

    python benchmarks/quality/int8.py DATA [--jobs shakespeare,stories] [--minilm FOLDER] [--keep MODELS] [--quick] [--out FOLDER]

DATA holds the folders tinyshakespeare, banking77 and stories260k; FOLDER of MiniLM is all-MiniLM-L6-v2 as Hugging Face has it.

shakespeare             `char-lm --preset nano-cpu`: the loss of every position of the last tenth, in windows of 64
banking77-transformer   `text-classify` by its defaults: accuracy on the test part, and the share of its texts with the same label
banking77-bilstm
minilm                  vectors of 1,000 texts of banking77's test part: their cosines with those in float32
stories                 stories260K writes 200 ids, the likeliest each time: the share that is the same at the same place, and how
                        many are before the first other one; then the share of the 200 that are likeliest behind float32's text

Training is in float32, seed 0; each model is saved, then loaded in each precision.  --keep: fitted models stay in MODELS, and those
that are there are not trained again.  --quick: a tenth of the training, to see that all runs.
The bars are those of int8: at most 0.02 more loss, at most 0.005 less accuracy.
"""
from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import dlcore
from dlcore.data.texts import read_texts
from dlcore.training.answers import missing

PRECISIONS = ("float32", "bf16", "int8")
IDS, TEXTS = 200, 1000
BARS = {"loss": 0.02, "accuracy": -0.005}       # the greatest rise, the greatest fall from float32 to int8
Figures = dict[str, Any]


def fitted(name: str, folder: Path, fit: Callable[[], Any], quick: bool = False) -> Path:
    """The file of a model, which is made where it is not there."""
    path = folder / f"{name}{'-quick' * quick}.dlc"
    if not path.exists():
        start = time.perf_counter()
        fit().save(path)
        print(f"{name}: fitted in {time.perf_counter() - start:.0f} s", flush=True)
    return path


def each(path: Path, measure: Callable[[Any], Any]) -> dict[str, Any]:
    """What is measured of a file's model in each precision."""
    return {precision: measure(dlcore.load(path, precision=precision)) for precision in PRECISIONS}


def compared(figures: dict[str, Figures]) -> dict[str, Any]:
    """With what int8 changes and what is allowed of it."""
    changes = {key: figures["int8"][key] - figures["float32"][key] for key in BARS if key in figures["float32"]}
    holds = all(np.sign(BARS[key]) * change <= abs(BARS[key]) for key, change in changes.items())
    return {"figures": figures, "change": changes, "bars": {key: BARS[key] for key in changes}, "holds": bool(holds)}


def shakespeare(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    from language import preset

    from dlcore.tasks import CharLM
    text = (given.data / "tinyshakespeare/input.txt").read_text()
    options = preset("nano-cpu")
    if given.quick:
        options["steps"] //= 10
    path = fitted("shakespeare", folder, lambda: CharLM(**options, random_state=0).fit(text), given.quick)
    rest = text[len(text) - round(len(text) * dlcore.load(path).val_split):]
    return compared(each(path, lambda model: {"loss": model.evaluate(rest)["loss"]}))


def banking77(arch: str) -> Callable[[argparse.Namespace, Path], dict[str, Any]]:
    def run(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
        from texts import TASK, options, parts
        train, test = parts("banking77", given.data)
        chosen = options(arch)
        if given.quick:
            chosen["epochs"] = max(1, chosen["epochs"] // 10)
        path = fitted(f"banking77-{arch}", folder, lambda: TASK.create(train, arch, 0, **chosen).fit(train), given.quick)
        labels = each(path, lambda model: model.predict(test.x))
        return compared({precision: {"accuracy": float(np.mean(found == test.y)),
                                     "same label": float(np.mean(found == labels["float32"]))}
                         for precision, found in labels.items()})
    return run


def minilm(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    if given.minilm is None:
        raise SystemExit("minilm needs --minilm FOLDER")
    texts = np.asarray(read_texts(given.data / "banking77/test.csv").x)[:TEXTS]
    path = fitted("minilm", folder, lambda: dlcore.from_pretrained(given.minilm))
    vectors = each(path, lambda model: unit(model.predict(texts)))
    cosines = {precision: (found * vectors["float32"]).sum(1) for precision, found in vectors.items()}
    return compared({precision: {"least cosine": float(found.min()), "mean cosine": float(found.mean())}
                     for precision, found in cosines.items()})


def unit(vectors: np.ndarray) -> np.ndarray:
    wide = vectors.astype(np.float64)
    return wide / np.linalg.norm(wide, axis=1, keepdims=True)


def stories(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    path = fitted("stories", folder, lambda: dlcore.from_pretrained(given.data / "stories260k/stories260K.bin"))
    own = each(path, likeliest)
    forced = each(path, lambda model: likeliest(model, own["float32"]))
    return compared({precision: {"same ids": float(np.mean(own[precision] == own["float32"])),
                                 "before the first other": int(np.cumprod(own[precision] == own["float32"]).sum()),
                                 "same behind float32's text": float(np.mean(forced[precision] == own["float32"]))}
                     for precision in PRECISIONS})


def likeliest(model: Any, text: np.ndarray | None = None) -> np.ndarray:
    """i64[IDS]: the likeliest id behind the beginning and what was written so far, or behind another text."""
    from dlcore.models.steps import Steps
    steps = Steps(model.model, 1, IDS + 1)
    first, = model.tokenizer_.finish([], None)      # what the tokenizer puts before a text
    ids, found = int(first), np.zeros(IDS, np.int64)
    for n in range(IDS):
        found[n] = steps.feed([ids])[0].argmax()
        ids = int(found[n] if text is None else text[n])
    return found


JOBS: dict[str, Callable[[argparse.Namespace, Path], dict[str, Any]]] = {
    "shakespeare": shakespeare, "banking77-transformer": banking77("transformer"), "banking77-bilstm": banking77("bilstm"),
    "minilm": minilm, "stories": stories}


def table(name: str, found: dict[str, Any]) -> str:
    """A line for each precision, then the change with its bar."""
    lines = [f"{name:22} {precision:8} " + "  ".join(f"{key} {value:.5g}" for key, value in figures.items())
             for precision, figures in found["figures"].items()]
    lines += [f"{name:22} int8 - float32: {key} {change:+.4f}, allowed {BARS[key]:+.3f}: {'holds' if found['holds'] else 'MISSED'}"
              for key, change in found["change"].items()]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--jobs", default=",".join(JOBS))
    parser.add_argument("--minilm", type=Path)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "results")
    given = parser.parse_args()
    lacking = [line for precision in PRECISIONS for line in missing(precision)]
    print(*lacking, sep="\n", end="\n" * bool(lacking))
    path = given.out / "int8.json"
    judged = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        for name in given.jobs.split(","):
            judged.append(JOBS[name](given, folder))
            print(table(name, judged[-1]), flush=True)
            jobs = json.loads(path.read_text())["jobs"] if path.exists() else {}        # another run may have written meanwhile
            jobs[name] = {**judged[-1], "quick": given.quick, "without products of their own": lacking}
            machine = {"python": platform.python_version(), "machine": platform.machine(), "cores": len(os.sched_getaffinity(0))}
            given.out.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({**machine, "jobs": jobs}, indent=1) + "\n")
    return int(bool(lacking) or not all(found["holds"] for found in judged))


if __name__ == "__main__":
    raise SystemExit(main())
