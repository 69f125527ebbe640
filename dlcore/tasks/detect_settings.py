"""What the parameters of a detector mean: architectures, the recipe of its own, checks."""
from __future__ import annotations

from typing import Any

import numpy as np

from dlcore.data.augment import Augment
from dlcore.errors import UsageError
from dlcore.tasks.detected import METRIC
from dlcore.tasks.kinds import number, whole

ARCHITECTURES = {
    "yolo-tiny": "one look at the picture, anchors found by k-means on the data",
    "ssd": "default boxes on four maps",
    "faster-rcnn": "regions are proposed, then looked at once more",
}
ANCHORS = {"yolo-tiny": 6, "faster-rcnn": 6}
LAST = {"yolo-tiny": "YoloOutput", "ssd": "PriorOutput", "faster-rcnn": "RegionOutput"}
CHANGES = "flip,zoom=0.3,shift=0.1,brightness=0.3,contrast=0.2,saturation=0.3,hue=0.03"
RECIPE = {"warmup": 0.05, "clip": 10.0, "ema": 0.99, "monitor": METRIC}       # where nobody says otherwise
LARGEST = 4096              # pixels of a side


def check(p: Any) -> None:
    """Raises `UsageError` for parameters that are of no use."""
    def require(holds: bool, name: str, expected: str) -> None:
        if not holds:
            raise UsageError(f"{name} = {getattr(p, name)!r} is of no use", expected=expected)
    require(p.arch in ARCHITECTURES, "arch", ", ".join(ARCHITECTURES))
    size = p.image_size
    sides = size if isinstance(size, (list, tuple)) and len(size) == 2 else [size]
    require(all(whole(n, 32) and n <= LARGEST for n in sides), "image_size", f"pixels from 32 to {LARGEST}, or two of them")
    require(whole(p.width, 1), "width", "a whole number from 1")
    require(isinstance(p.attention, (bool, np.bool_)), "attention", "true or false")
    require(number(p.threshold, 0, 1), "threshold", "a number from 0 to 1")
    require(number(p.overlap, 0, 1), "overlap", "a number from 0 to 1")
    require(whole(p.measure_every, 1), "measure_every", "a whole number from 1")
    require(isinstance(p.augment, str), "augment", "changes as flip,zoom=0.3")
    if p.augment:
        changes(p)


def changes(p: Any) -> Augment:
    """The random changes of training pictures.  Raises `UsageError` for those that boxes cannot follow."""
    found = Augment.parse(p.augment)
    if found.mixup or found.cutout:
        raise UsageError("pictures with boxes are neither mixed nor covered", where="augment", got=p.augment,
                         hint="leave out mixup and cutout")
    return found
