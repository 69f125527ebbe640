"""Translation: the task's Transformer beside the same network in PyTorch, on the same pairs, ids, batches and learning rates.

    python benchmarks/quality/translate.py DATA --work FOLDER [--peer PYTHON] [--directions en-zh,zh-en] [--epochs 8] [--seed 0]

DATA holds the folder tatoeba_zh_en.  The test part is the one that `dlcore train translate` keeps; the epoch whose weights
count is the best on the validation part.  PyTorch (PYTHON has it, and runs `translate_torch.py`) trains in a process of its own and
gives its weights back; both sets of weights are then searched by the same beam search, and measured by BLEU and chrF as
sacrebleu defines them.  That the networks are the same is checked: the loss that PyTorch reports of its weights must be
that of dlcore with these weights.

What is finished lies in --work and is not done again.  `--stage prepare` only writes what `translate_torch.py FOLDER`
needs, `--stage dlcore` also trains dlcore; so the two trainings can be started apart.
"""
from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import dlcore
from dlcore.metrics import bleu_score, chrf_score
from dlcore.runtime import kernel_table
from dlcore.tasks import recipe
from dlcore.tasks.translate import MEASURED, TASK, Translator
from dlcore.tasks.translate_batches import PairBatches, Pairs
from dlcore.training.callbacks import Callback
from dlcore.training.saving import named_variables

HERE = Path(__file__).parent
LIMIT = 0.5                 # BLEU that dlcore may be below PyTorch
NAMES = {"en": "english", "zh": "chinese"}


def ragged(name: str, rows: Any) -> dict[str, np.ndarray]:
    return {name: np.concatenate([np.asarray(r, np.int32) for r in rows]), f"{name}_ends": np.cumsum([len(r) for r in rows])}


def prepared(model: Translator, train: Any) -> tuple[Pairs, dict[str, np.ndarray]]:
    """The validation pairs, and everything that PyTorch needs, from what `fit` does before it trains."""
    model.seed_ = model.random_state
    rows, held, _ = model._parts_of(train.x, train.y, None)
    model._fit_tokens(train.x[rows], train.y[rows])
    learned, kept = (model._pairs(train.x[part], train.y[part], None) for part in (rows, held))
    batches, order = PairBatches(learned, model.batch_size, model.seed_), []
    for epoch in range(model.epochs):
        batches.on_epoch_begin(epoch)
        order += [rows for _, rows in batches.drawn()]
    rate = recipe.schedule(model, model.epochs * len(batches), len(batches))
    variables = named_variables(model._network_of())
    settings = {"steps_per_epoch": len(batches), "layers": model.layers, "heads": model.heads, "width": model.width,
                "dropout": model.dropout, "label_smoothing": model.label_smoothing, "clip": model.training["clip"],
                "weights": {name: list(v.shape) for name, v in variables.items() if not v.statistic},
                "positions": [name for name, v in variables.items() if v.statistic]}
    found: dict[str, Any] = {"settings": json.dumps(settings), "rates": np.array([rate(n) for n in range(len(order))]),
                             "begin": model._begin_id, "end": model._end_id, "seed": model.seed_}
    found |= {name: v.initializer(v.shape, np.random.default_rng(0)) for name, v in variables.items() if v.statistic}
    for name, pairs in (("train", learned), ("val", kept)):
        found |= ragged(f"{name}_sources", pairs.sources) | ragged(f"{name}_targets", pairs.targets)
    return kept, found | ragged("order", order) | ragged("val_order", [g.rows[a:a + MEASURED] for g in kept.groups
                                                                      for a in range(0, len(g.rows), MEASURED)])


def measured(model: Translator, test: Any) -> dict[str, float]:
    began = time.perf_counter()
    scores = model.evaluate(test)
    likeliest = model.predict(test.x, beam=1).tolist()
    return {**scores, "greedy_bleu": bleu_score(test.y.tolist(), likeliest, model.cut_),
            "greedy_chrf": chrf_score(test.y.tolist(), likeliest), "measuring_seconds": round(time.perf_counter() - began, 1)}


def trained(model: Translator, train: Any, folder: Path) -> tuple[Translator, dict[str, Any]]:
    """The model, from an earlier run where there is one, and how long it took."""
    record = folder / "dlcore.json"
    if record.exists():
        return dlcore.load(folder / "model.dlc"), json.loads(record.read_text())
    began, cpu = time.perf_counter(), time.process_time()
    model.fit(train, log=lambda line: print(line, flush=True), callbacks=[Said()])
    found = {"seconds": round(time.perf_counter() - began, 1), "cpu_seconds": round(time.process_time() - cpu, 1),
             "val_loss": min(model.history_.history["val_loss"])}
    model.save(folder / "model.dlc")
    record.write_text(json.dumps(found))
    return model, found


class Said(Callback):
    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        print("dlcore epoch", epoch + 1, logs, flush=True)


def run(direction: str, given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    source, target = (NAMES[n] for n in direction.split("-"))
    parts = TASK.read(str(given.data / "tatoeba_zh_en/pairs.tsv"), source_col=source, target_col=target, test_split=0.05)
    options = {k.replace("-", "_"): v for section in TASK.defaults("transformer").values() for k, v in section.items()}
    model = TASK.create(parts.train, "transformer", given.seed, **{**options, "epochs": given.epochs})
    kept, job = prepared(model, parts.train)
    if not (folder / "job.npz").exists():
        np.savez(folder / "job.npz", **job)
    if given.stage == "prepare":
        return {}
    if given.peer and given.stage != "dlcore" and not (folder / "report.json").exists():
        subprocess.run([given.peer, str(HERE / "translate_torch.py"), str(folder)], check=True)
    params = model.get_params()
    model, took = trained(model, parts.train, folder)
    if given.stage == "dlcore":
        return {}
    record: dict[str, Any] = {"direction": direction, "rows": [len(parts.train) - len(kept), len(kept), len(parts.test)],
                              "params": {**params, "training": dict(params["training"])}, "weights": model.model.count_params(),
                              "dlcore": {**took, **measured(model, parts.test)}}
    print(direction, "dlcore", record["dlcore"], flush=True)
    record["examples"] = [list(row) for row in zip(parts.test.x[:8], parts.test.y[:8], model.predict(parts.test.x[:8]),
                                                   strict=True)]
    if given.peer:
        record["torch"] = beside(model, kept, parts.test, folder)
        record["difference"] = record["dlcore"]["bleu"] - record["torch"]["bleu"]
        print(direction, "torch", record["torch"], flush=True)
    return record


def beside(model: Translator, kept: Pairs, test: Any, folder: Path) -> dict[str, Any]:
    """What PyTorch's weights, which the model has afterwards, translate."""
    report, made = json.loads((folder / "report.json").read_text()), np.load(folder / "weights.npz")
    for name, variable in named_variables(model.model).items():
        if not variable.statistic:
            variable.assign(made[name])
    again = float(model.model.evaluate(kept.in_order(MEASURED)))
    if abs(again - report["val_loss"]) > 1e-3 * again:
        raise SystemExit(f"the networks differ: PyTorch's loss {report['val_loss']}, with its weights {again}")
    return {**report, "val_loss_in_dlcore": again, **measured(model, test)}


def judged(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """For each direction the medians over the seeds, and whether dlcore's is at most LIMIT below PyTorch's."""
    found: dict[str, Any] = {}
    for direction in dict.fromkeys(r["direction"] for r in runs):
        both = [r for r in runs if r["direction"] == direction and "torch" in r]
        if both:
            ours, theirs = (statistics.median(r[library]["bleu"] for r in both) for library in ("dlcore", "torch"))
            found[direction] = {"seeds": [r["seed"] for r in both], "bleu": ours, "torch": theirs, "holds": ours - theirs >= -LIMIT}
    return found


def machine() -> dict[str, Any]:
    names = [line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
             if line.startswith("model name")]
    return {"machine": names[0] if names else platform.machine(), "cores": os.cpu_count(),
            "threads": os.environ.get("DLCORE_THREADS", ""),
            "level": kernel_table().level, "python": platform.python_version(), "load": os.getloadavg()[0]}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--peer", default="", metavar="PYTHON", help="an interpreter that has torch")
    parser.add_argument("--work", type=Path, required=True, help="folder for what the stages leave")
    parser.add_argument("--stage", choices=("prepare", "dlcore", "all"), default="all")
    parser.add_argument("--directions", default="en-zh,zh-en")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=HERE.parent / "results")
    given = parser.parse_args()
    path, found = given.out / "translate.json", []
    for direction in given.directions.split(","):
        folder = given.work / f"{direction}-{given.seed}"
        folder.mkdir(parents=True, exist_ok=True)
        record = {**run(direction, given, folder), "seed": given.seed, "where": machine()}
        if given.stage != "all":
            continue
        found = json.loads(path.read_text())["runs"] if path.exists() else []
        found = [r for r in found if (r["direction"], r["seed"]) != (direction, given.seed)] + [record]
        report = {"medians": judged(found), "runs": found}
        path.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print(direction, "medians", report["medians"][direction] if given.peer else "of no peer", flush=True)
    return int(given.stage == "all" and not all(each["holds"] for each in judged(found).values()))


if __name__ == "__main__":
    sys.exit(main())
