"""DCGANs on MNIST: dlcore's beside the same one in PyTorch, trained for as many steps, both measured by one LeNet.

    python benchmarks/quality/gan.py MNIST --peer PYTHON [--epochs 2] [--seeds 0] [--archs dcgan,torch,sngan] [--out FOLDER]

The LeNet is trained on the training images; FID is the Frechet distance of its 84 features between the 10,000 test images and as
many generated ones.  Beside them: as many training images in the place of generated ones, the least that can be reached.
`torch` is the same network as `dcgan` in PyTorch.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from dlcore.data.images import read_images
from dlcore.report import png
from dlcore.tasks import GAN
from dlcore.tasks.judge import Judge
from dlcore.training.grids import write_png

PEER = Path(__file__).parents[1] / "peers" / "gan_torch.py"


def ours(arch: str, train: Any, epochs: int, seed: int, count: int) -> tuple[np.ndarray, float, int]:
    """(images, seconds of training, steps)"""
    model = GAN.of(arch, epochs=epochs, judge="", random_state=seed)
    begin = time.perf_counter()
    model.fit(train.x)
    return model.generate(count, seed=seed), time.perf_counter() - begin, model.model.state.step


def theirs(python: str, train: Any, steps: int, seed: int, count: int) -> tuple[np.ndarray, float, int]:
    """The same in PyTorch."""
    with tempfile.TemporaryDirectory() as folder:
        images, out = Path(folder) / "images.npy", Path(folder) / "made.npy"
        np.save(images, train.x)
        words = [python, str(PEER), str(images), str(out), "--steps", str(steps), "--count", str(count), "--seed", str(seed)]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        return np.load(out), float(done.stdout), steps


def measured(judge: Judge, test: Any, name: str, seed: int, made: tuple[np.ndarray, float, int], out: Path) -> dict[str, Any]:
    """The measures of generated images; keeps a picture of the first 64."""
    images, seconds, steps = made
    write_png(out / f"gan-{name.replace(' ', '-')}.png", png.grid(images[:64], 8))
    found = judge.measure(test.x, images * 255)
    found |= {"name": name, "seed": seed, "steps": steps, "seconds": round(seconds, 1)}
    print(found, flush=True)
    return found


def table(results: list[dict[str, Any]], floor: dict[str, float]) -> str:
    """The results as Markdown."""
    lines = ["# GANs on MNIST", "",
             "FID by the 84 features of a LeNet that dlcore trained on MNIST, between the 10,000 test images and 10,000 generated",
             "ones; how many of the ten digits are there; half the sum of differences of the digits' shares.  One thread;",
             "seconds are those of a machine that others used at the same time, and say nothing of speed.", "",
             "| who | seed | steps | FID | digits | shift | seconds |", "| --- | --- | --- | --- | --- | --- | --- |"]
    for r in results:
        lines.append(f"| {r['name']} | {r['seed']} | {r['steps']:,} | {r['fid']:.2f} | {r['classes_covered']:.0f} | "
                     f"{r['class_shift']:.3f} | {r['seconds']:.0f} |")
    lines.append(f"| training images |  |  | {floor['fid']:.2f} | {floor['classes_covered']:.0f} | {floor['class_shift']:.3f} |  |")
    return "\n".join([*lines, ""])


def keep(found: dict[str, Any], floor: dict[str, float], out: Path) -> None:
    """Puts a result among those of other runs: networks may be trained one by one."""
    path, same = out / "gan.json", ("name", "seed", "steps")
    known = json.loads(path.read_text())["results"] if path.exists() else []
    known = [r for r in known if any(r[k] != found[k] for k in same)] + [found]
    known.sort(key=lambda r: (r["steps"], r["seed"], r["name"]))
    path.write_text(json.dumps({"floor": floor, "results": known}, indent=1) + "\n")
    (out / "gan.md").write_text(table(known, floor))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("--peer", default="", help="a Python that has torch")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--archs", default="dcgan", help="dcgan, sngan, wgan-gp, torch; what torch needs is --peer")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "results")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    parts = read_images(given.data)
    train, test = parts.train, parts.test
    judge = Judge.trained(train.x, train.y, seed=0, say=print)
    rows = np.random.default_rng(0).permutation(len(train.x))[:len(test.x)]
    floor, count = judge.measure(test.x, train.x[rows]), len(test.x)
    steps = given.epochs * (len(train.x) // GAN().batch_size)
    for seed in map(int, given.seeds.split(",")):
        for arch in given.archs.split(","):
            if arch == "torch":
                name, made = "torch dcgan", theirs(given.peer, train, steps, seed, count)
            else:
                name, made = f"dlcore {arch}", ours(arch, train, given.epochs, seed, count)
            keep(measured(judge, test, name, seed, made, given.out), floor, given.out)


if __name__ == "__main__":
    main()
