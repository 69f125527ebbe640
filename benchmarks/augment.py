"""Augmentation beside Pillow code as torchvision's transforms run it: `python benchmarks/augment.py [--json FILE] [--rounds N]`.

Both make the same batch on one thread: f32 (B, H, W, 3), normalised.  They take turns; reported are medians of
microseconds a batch and the median of the ratios of neighbouring turns.  The last rows train a network on batches that
the loader makes, and say how long a step waited.  Needs Pillow.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time

import numpy as np
from harness import machine
from PIL import Image, ImageEnhance, ImageOps

import dlcore as dl
from dlcore.data.augment import Augment, AugmentedImages
from dlcore.data.pictures import resize
from dlcore.layers import Dense, Flatten
from dlcore.training.loaded import LoadedFeed
from dlcore.training.loop import Loop

MEAN, STD = np.float32([0.49, 0.48, 0.45]), np.float32([0.25, 0.24, 0.26])
CASES = {
    "crop,flip 32x32": ("crop=4,flip", 32, 64),
    "crop,flip,rotate=10 32x32": ("crop=4,flip,rotate=10", 32, 64),
    "crop,flip,color 32x32": ("crop=4,flip,color", 32, 64),
    "crop,flip 224x224": ("crop=16,flip", 224, 16),
    "crop,flip,rotate=10 224x224": ("crop=16,flip,rotate=10", 224, 16),
    "crop,flip,color 224x224": ("crop=16,flip,color", 224, 16),
}


def changed(picture: Image.Image, a: Augment) -> Image.Image:
    """One picture, as RandomCrop, RandomHorizontalFlip, RandomRotation and ColorJitter change it."""
    width, height = picture.size
    if a.crop:
        pad = int(a.crop)
        x, y = random.randint(0, 2 * pad), random.randint(0, 2 * pad)
        picture = ImageOps.expand(picture, pad).crop((x, y, x + width, y + height))
    if random.random() < a.flip:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if a.rotate:
        picture = picture.rotate(random.uniform(-a.rotate, a.rotate), Image.Resampling.BILINEAR)
    for kind, reach in (("Brightness", a.brightness), ("Contrast", a.contrast), ("Color", a.saturation)):
        if reach:
            picture = getattr(ImageEnhance, kind)(picture).enhance(random.uniform(1 - reach, 1 + reach))
    if a.hue:
        h, s, v = picture.convert("HSV").split()
        moved = np.asarray(h) + np.uint8(int(random.uniform(-a.hue, a.hue) * 255) % 256)
        picture = Image.merge("HSV", (Image.fromarray(moved), s, v)).convert("RGB")
    return picture


def by_pillow(pictures: list[Image.Image], rows: np.ndarray, a: Augment) -> np.ndarray:
    """A batch."""
    made = [np.asarray(changed(pictures[r], a), np.float32) / 255 for r in rows]
    return (np.stack(made) - MEAN) / STD


def turns(first, second, rounds: int) -> dict[str, float]:
    """Two functions in turns: medians in us, and the median of the ratios second / first."""
    first(), second()
    pairs = []
    for _ in range(rounds):
        times = []
        for function in (first, second):
            began = time.perf_counter()
            function()
            times.append((time.perf_counter() - began) * 1e6)
        pairs.append(times)
    return {
        "dlcore_us": statistics.median(t[0] for t in pairs),
        "pillow_us": statistics.median(t[1] for t in pairs),
        "times_faster": statistics.median(t[1] / t[0] for t in pairs),
    }


def measure_changes(text: str, side: int, batch: int, rounds: int) -> dict[str, float]:
    """One case of CASES."""
    random.seed(0)
    images = np.random.default_rng(0).integers(0, 256, (4 * batch, side, side, 3), dtype=np.uint8)
    pictures, a = [Image.fromarray(image) for image in images], Augment.parse(text)
    source = AugmentedImages(images, np.zeros(len(images), np.int32), a, mean=MEAN, std=STD)
    x, y = np.empty((batch, side, side, 3), np.float32), np.empty(batch, np.int32)
    rows = np.random.default_rng(1).permutation(len(images))[:batch].astype(np.int32)
    return turns(lambda: source.fill(x, y, rows, 0, 0, 0), lambda: by_pillow(pictures, rows, a), rounds)


def measure_resize(rounds: int) -> dict[str, float]:
    """Sixteen photos of 640x480 to 224x224."""
    images = list(np.random.default_rng(0).integers(0, 256, (16, 480, 640, 3), dtype=np.uint8))
    pictures, out = [Image.fromarray(image) for image in images], np.empty((16, 224, 224, 3), np.uint8)

    def pillow():
        return np.stack([np.asarray(p.resize((224, 224), Image.Resampling.BILINEAR)) for p in pictures])

    return turns(lambda: resize(images, out), pillow, rounds)


def measure_waiting(text: str) -> dict[str, float]:
    """A network of some milliseconds a step on 32x32x3, batch 64, its batches made ahead."""
    images = np.random.default_rng(0).integers(0, 256, (6400, 32, 32, 3), dtype=np.uint8)
    layers = [Flatten(input_shape=(32, 32, 3)), *[Dense(2048, activation="relu") for _ in range(3)]]
    model = dl.Sequential([*layers, Dense(10, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    model.ensure_store()
    source = Augment.parse(text)(images, np.arange(6400, dtype=np.int32) % 10)
    feed = LoadedFeed(model, source, 64, True, 0)
    model.state.start_epoch()
    report = next(iter(Loop(model, feed, model.state, 1)))
    return {
        "step_us": report.seconds / feed.times.steps * 1e6,
        "waited_us": feed.times.waited / feed.times.steps * 1e6,
        "made_us": feed.times.made / feed.times.steps * 1e6,
        "waited_share": feed.times.waited / report.seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", help="also write the results to this file")
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    found = {name: measure_changes(*case, options.rounds) for name, case in CASES.items()}
    found["resize 480x640 to 224x224"] = measure_resize(options.rounds)
    waiting = {text: measure_waiting(text) for text in ("crop=4,flip", "crop=4,flip,rotate=10,color")}
    print("| batch | dlcore us | Pillow us | times faster |\n| --- | --- | --- | --- |")
    for name, row in found.items():
        print(f"| {name} | {row['dlcore_us']:,.0f} | {row['pillow_us']:,.0f} | {row['times_faster']:.1f} |")
    print("\n| loader | step us | made us | waited us | share |\n| --- | --- | --- | --- | --- |")
    for name, row in waiting.items():
        print(f"| {name} | {row['step_us']:,.0f} | {row['made_us']:,.0f} | {row['waited_us']:,.1f} | {row['waited_share']:.2%} |")
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"machine": machine(), "rounds": options.rounds, "changes": found, "loader": waiting}, file, indent=1)


if __name__ == "__main__":
    main()
