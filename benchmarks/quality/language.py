"""Language models on public texts: names, Shakespeare, Tang poems.

    python benchmarks/quality/language.py DATA [--sets names,shakespeare,tang] [--torch] [--seeds 0,1,2] [--out FOLDER]

DATA holds the folders names, tinyshakespeare and chinese_poetry.

names        `--preset names`; 1,000 names, drawn with seed 0, are kept apart and measured one by one, end included, as makemore
             does: its Transformer of 200k weights has 1.92.
shakespeare  `--preset nano-cpu`, nanoGPT's recipe for a CPU at twice its rate: the loss of every position of the last tenth, in
             windows of 64.
             --torch trains the same network in PyTorch beside it, on the same windows, from initial weights of the same
             distributions.
tang         poems of four couplets of 2 x 5 characters and of two couplets of 2 x 7: which share of 100 poems that it writes
             keeps such a form.

Bars hold for the median of the seeds; runs of other seeds stay in the file.
"""
from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

from dlcore.callbacks import LambdaCallback
from dlcore.tasks import CharLM
from dlcore.tasks.language_settings import PRESETS

FORMS = ((5, 4), (7, 2))                    # characters of half a couplet, couplets


def preset(name: str) -> dict[str, Any]:
    """Its parameters by their Python names."""
    found = {key.replace("-", "_"): value for section in PRESETS[name].values() for key, value in section.items()}
    return {"batch_size" if key == "batch" else key: value for key, value in found.items()}


def fitted(text: str, seed: int, **options: Any) -> tuple[CharLM, dict[str, Any]]:
    begin = time.perf_counter(), time.process_time()
    told = LambdaCallback(on_epoch_end=lambda epoch, logs: print("   round", epoch, logs, flush=True))
    model = CharLM(**options, random_state=seed).fit(text, callbacks=[told], log=lambda line: print(" ", line, flush=True))
    seconds = time.perf_counter() - begin[0], time.process_time() - begin[1]
    return model, {"weights": model.model.count_params(), "seed": seed, "fit_seconds": round(seconds[0], 1),
                   "processor_seconds": round(seconds[1], 1), "val_loss": min(model.history_.history["val_loss"]),
                   "options": options}


def names(data: Path, seed: int) -> dict[str, Any]:
    words = (data / "names/names.txt").read_text().split()
    order = np.random.default_rng(0).permutation(len(words))
    train, test = [words[i] for i in order[1000:]], [words[i] for i in order[:1000]]
    model, found = fitted("\n" + "\n".join(train) + "\n", seed, **preset("names"))
    x = np.zeros((len(test), model.context), np.int32)
    y = np.full((len(test), model.context), -1, np.int32)
    for row, word in enumerate(test):
        ids = model.encode(f"\n{word}\n")
        x[row, :len(ids) - 1], y[row, :len(ids) - 1] = ids[:-1], ids[1:]
    logits = model.model.predict(x).astype(np.float64)
    logs = logits - logits.max(-1, keepdims=True)
    logs -= np.log(np.exp(logs).sum(-1, keepdims=True))
    loss = -np.take_along_axis(logs, np.maximum(y, 0)[..., None], 2)[..., 0][y >= 0].mean()
    samples = model.generate("\n", 100, seed=0).split()
    return {**found, "loss": float(loss), "samples": samples}


def shakespeare(data: Path, seed: int, beside: bool) -> dict[str, Any]:
    text = (data / "tinyshakespeare/input.txt").read_text()
    model, found = fitted(text, seed, **preset("nano-cpu"))
    cut = len(text) - round(len(text) * model.val_split)
    loss = model.evaluate(text[cut:])["loss"]
    sample = model.generate("ROMEO:", 200, temperature=0.8, seed=0)
    found |= {"loss": loss, "sample": sample}
    if beside:
        from language_torch import train
        found["torch"] = train(model, text[:cut], text[cut:], seed)
        found["above torch"] = loss - found["torch"]["loss"]
    return found


def form_of(lines: list[str]) -> tuple[int, int] | None:
    """The form that a poem's lines keep."""
    for size, couplets in FORMS:
        half = f"[^，。]{{{size}}}"
        if len(lines) == couplets and all(re.fullmatch(f"{half}，{half}。", line) for line in lines):
            return size, couplets
    return None


def tang(data: Path, seed: int) -> dict[str, Any]:
    files = sorted((data / "chinese_poetry/tang").glob("*.json"))
    poems = [poem["paragraphs"] for file in files for poem in json.loads(file.read_text())]
    kept = ["".join(lines) for lines in poems if form_of(lines)]
    order = np.random.default_rng(0).permutation(len(kept))
    text = "\n" + "\n".join(kept[i] for i in order) + "\n"
    model, found = fitted(text, seed, begin="line", val_split=0.05, context=64, layers=2, heads=4, width=96, position="rotary",
                          dropout=0.1, steps=4000, batch_size=16, lr=4e-3, warmup=200, eval_every=500)
    written = [model.generate("\n", 62, stop=["\n"], temperature=0.8, seed=k).strip() for k in range(100)]
    forms = [form_of(re.findall("[^。]*。?", poem)[:-1]) for poem in written]
    share = sum(form is not None for form in forms) / len(forms)
    return {**found, "poems": len(kept), "share that keeps a form": share,
            "forms": {f"{couplets} couplets of 2 x {size}": forms.count((size, couplets)) for size, couplets in FORMS},
            "samples": written[:6]}


BARS = {"names": {"loss": (1.93, -1)}, "shakespeare": {"loss": (1.9, -1), "above torch": (0.01, -1)},
        "tang": {"share that keeps a form": (0.9, 1)}}        # bound; 1: at least, -1: at most


def judgement(name: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians of what is bounded, over the runs that have it, and whether they are within the bounds."""
    values = {key: [run[key] for run in runs if key in run] for key in BARS[name]}
    medians = {key: statistics.median(found) for key, found in values.items() if found}
    return {"seeds": [run["seed"] for run in runs], "median": medians,
            "bars": {key: {"at least" if sign > 0 else "at most": bound} for key, (bound, sign) in BARS[name].items()},
            "holds": all(sign * (medians[key] - bound) >= 0 for key, (bound, sign) in BARS[name].items() if key in medians)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--sets", default="names,shakespeare,tang")
    parser.add_argument("--torch", action="store_true")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "results")
    given = parser.parse_args()
    path = given.out / "language.json"
    judged: dict[str, Any] = {}
    for name in given.sets.split(","):
        for seed in map(int, given.seeds.split(",")):
            found = (shakespeare(given.data, seed, given.torch) if name == "shakespeare"
                     else {"names": names, "tang": tang}[name](given.data, seed))
            print(name, {key: value for key, value in found.items() if key not in ("samples", "sample")}, flush=True)
            sets = json.loads(path.read_text())["sets"] if path.exists() else {}        # another run may have written meanwhile
            runs = [run for run in sets.get(name, {}).get("runs", []) if run["seed"] != seed] + [found]
            sets[name] = judged[name] = {**judgement(name, runs), "runs": runs}
            threads = os.environ.get("DLCORE_THREADS", str(os.cpu_count()))
            report = {"python": platform.python_version(), "machine": platform.machine(), "threads": threads, "sets": sets}
            path.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    return int(not all(found["holds"] for found in judged.values()))


if __name__ == "__main__":
    raise SystemExit(main())
