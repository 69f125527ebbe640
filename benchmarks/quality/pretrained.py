"""Models from elsewhere: what was imported gives the numbers that its own library gives, and MiniLM learns banking77.

    python benchmarks/quality/pretrained.py stories --llama2c FOLDER        stories260K writes its documented text
    python benchmarks/quality/pretrained.py minilm --minilm FOLDER --data DATA --peer PYTHON    the embeddings of transformers
    python benchmarks/quality/pretrained.py gpt2 --peer PYTHON              the logits of transformers for random weights, 124M
    python benchmarks/quality/pretrained.py llama --peer PYTHON             the same, of Llama's shape with grouped queries
    python benchmarks/quality/pretrained.py probe --minilm FOLDER --data DATA       logistic regression on MiniLM's vectors
    python benchmarks/quality/pretrained.py finetune --minilm FOLDER --data DATA    accuracy on banking77's test part

FOLDER of MiniLM is all-MiniLM-L6-v2 as Hugging Face has it; DATA holds the folder banking77.  PYTHON has torch and transformers.
No run of the fine-tuning was measured on the test part before its settings were chosen; that of `probe` was.
"""
from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import dlcore

REFERENCE = Path(__file__).parent.parent / "peers" / "pretrained_transformers.py"
LARGEST = 1e-4              # difference that is allowed
BAR = 0.92                  # accuracy on banking77
# two epochs of the two highest blocks, products in bf16, what is below as it is
RECIPE: dict[str, Any] = {"arch": "bert", "max_len": 64, "epochs": 2, "batch_size": 32, "lr": 3e-3, "val_split": 0.0,
                          "encoder_rate": 0.1, "layer_decay": 0.85}
FROZEN = ["encoder/embedding", "encoder/block_[0-3]"]


def reference(peer: str, job: str, folder: Path, **arrays: Any) -> np.ndarray:
    """What transformers gives, computed in another process; it makes the folder where the job is a shape."""
    with tempfile.TemporaryDirectory() as work:
        np.savez(f"{work}/in.npz", **arrays)
        subprocess.run([peer, str(REFERENCE), job, str(folder), f"{work}/in.npz", f"{work}/out.npy"], check=True,
                       stdout=subprocess.DEVNULL)
        return np.load(f"{work}/out.npy")


def differences(ours: np.ndarray, theirs: np.ndarray) -> dict[str, Any]:
    most = float(np.abs(ours - theirs).max())
    return {"shape": list(ours.shape), "greatest difference": most, "greatest value": float(np.abs(theirs).max()),
            "holds": most <= LARGEST}


def stories(given: argparse.Namespace) -> dict[str, Any]:
    folder = given.llama2c
    documented = (folder / "stories260K.md").read_text().split("-t 0.0\n")[1].split("\n```")[0]
    start = time.perf_counter()
    model = dlcore.from_pretrained(folder / "stories260K.bin")
    text = model.generate("", 256, temperature=0)
    return {"characters": len(text), "seconds": round(time.perf_counter() - start, 2), "holds": text == documented}


def minilm(given: argparse.Namespace) -> dict[str, Any]:
    from dlcore.data.texts import read_texts
    texts = [*read_texts(given.data / "banking77/test.csv").x[:200], "你好，世界！ naïve café", "word " * 600, "!!!"]
    ours = dlcore.from_pretrained(given.minilm).predict(texts)
    return differences(ours, reference(given.peer, "embed", given.minilm, texts=np.array(texts)))


def logits(shape: str, steps: int) -> Callable[[argparse.Namespace], dict[str, Any]]:
    def run(given: argparse.Namespace) -> dict[str, Any]:
        from dlcore.models.steps import Steps
        from dlcore.tasks.pretrained import network
        with tempfile.TemporaryDirectory() as work:
            folder = Path(work) / shape
            ids = np.random.default_rng(0).integers(0, 1000, (2, steps)).astype(np.int32)
            theirs = reference(given.peer, shape, folder, ids=ids)
            model = network(folder, context=0 if shape == "gpt2" else steps)
            padded = np.zeros((2, model.network.inputs[0].shape[1]), np.int32)
            padded[:, :steps] = ids             # causal: what stands behind changes nothing before it
            found = differences(model.predict(padded, batch_size=2)[:, :steps], theirs)
            kept = Steps(model, 2, steps)
            stepped = np.stack([kept.feed(column).copy() for column in ids.T], 1)
            return {"weights": model.count_params(), **found, "step by step": differences(stepped, theirs)["greatest difference"]}
    return run


def probe(given: argparse.Namespace) -> dict[str, Any]:
    """scikit-learn's logistic regression on the vectors, as they are: what there is to beat."""
    from sklearn.linear_model import LogisticRegression

    from dlcore.data.texts import read_texts
    train, test = read_texts(given.data / "banking77/train.csv"), read_texts(given.data / "banking77/test.csv")
    encoder = dlcore.from_pretrained(given.minilm)
    regression = LogisticRegression(C=250, max_iter=100).fit(encoder.predict(train.x), train.y)
    return {"accuracy": float(regression.score(encoder.predict(test.x), test.y)), "holds": True}


def finetune(given: argparse.Namespace) -> dict[str, Any]:
    from dlcore.data.texts import read_texts
    train, test = read_texts(given.data / "banking77/train.csv"), read_texts(given.data / "banking77/test.csv")
    model = dlcore.TextClassifier(**RECIPE, random_state=given.seed, training={
        "init": str(given.minilm), "freeze": FROZEN, "warmup": 0.1, "clip": 1.0, "precision": "bf16"})
    start = time.perf_counter()
    model.fit(train, log=lambda line: print(line, flush=True), callbacks=[Lines()])
    scores = model.evaluate(test)
    return {"recipe": RECIPE, "frozen": FROZEN, "seed": given.seed, "fit_seconds": round(time.perf_counter() - start), **scores,
            "bar": BAR, "holds": scores["accuracy"] >= BAR}


class Lines(dlcore.Callback):
    """A line for an epoch."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        print(f"epoch {epoch + 1}: {time.perf_counter() - self.start:.0f} s", logs, flush=True)


JOBS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "stories": stories, "minilm": minilm, "gpt2": logits("gpt2", 64), "llama": logits("llama", 48), "probe": probe,
    "finetune": finetune}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("job", choices=JOBS)
    parser.add_argument("--minilm", type=Path)
    parser.add_argument("--llama2c", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--peer", default="python3")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "results")
    given = parser.parse_args()
    path = given.out / "pretrained.json"
    found = json.loads(path.read_text())["jobs"] if path.exists() else {}
    found[given.job] = JOBS[given.job](given)
    print(given.job, found[given.job])
    machine = {"python": platform.python_version(), "machine": platform.machine(), "cores": len(os.sched_getaffinity(0))}
    report = {**machine, "jobs": found}
    path.write_text(json.dumps(report, indent=1) + "\n")
    return int(not found[given.job]["holds"])


if __name__ == "__main__":
    raise SystemExit(main())
