"""Makes detection_coco.npz: random boxes, answers, and pycocotools' scores of them.  Needs pycocotools.

    python tests/metrics/make_detection_fixture.py
"""
import contextlib
import io
from pathlib import Path

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

PICTURES, CLASSES = 30, 4


def boxes(rng, count):
    corner, size = rng.uniform(0, 300, (count, 2)), np.exp(rng.uniform(1.5, 5.5, (count, 2)))
    return np.concatenate([corner, corner + size], 1).round(2)


def make(seed):
    """(truth, found): rows of picture, class, x1, y1, x2, y2, and ignored or the score.  Class 3 has only ignored boxes;
    scores are rounded so that some are equal; some pictures have no boxes, some no answers."""
    rng = np.random.default_rng(seed)
    truth, found = [], []
    for p in range(PICTURES):
        there = boxes(rng, rng.integers(0, 9))
        labels = rng.integers(0, CLASSES, len(there))
        ignored = (rng.random(len(there)) < 0.15) | (labels == 3)
        truth += [[p, k, *b, i] for k, b, i in zip(labels, there, ignored, strict=True)]
        if p % 7 == 3:
            continue
        for k, b in zip(labels, there, strict=True):
            for _ in range(rng.integers(0, 4)):
                moved = b + rng.normal(0, 0.12, 4) * np.tile(b[2:] - b[:2], 2)
                if (moved[2:] > moved[:2]).all():
                    found.append([p, k if rng.random() < 0.9 else rng.integers(0, CLASSES), *moved, rng.random().__round__(2)])
        for b in boxes(rng, rng.integers(0, 5)):
            found.append([p, rng.integers(0, CLASSES), *b, round(rng.random() * 0.7, 2)])
    for b in boxes(rng, 130):                           # more than 100 of one class in one picture
        found.append([1, 0, *b, round(rng.random(), 2)])
    return np.array(truth), np.array(found)


def xywh(b):
    return [*b[:2], b[2] - b[0], b[3] - b[1]]


def evaluated(truth, found):
    coco = COCO()
    coco.dataset = {"images": [{"id": p + 1} for p in range(PICTURES)], "categories": [{"id": k + 1} for k in range(CLASSES)],
                    "annotations": [{"id": i + 1, "image_id": int(r[0]) + 1, "category_id": int(r[1]) + 1, "bbox": xywh(r[2:6]),
                                     "area": float((r[4] - r[2]) * (r[5] - r[3])), "iscrowd": int(r[6])}
                                    for i, r in enumerate(truth)]}
    coco.createIndex()
    answers = coco.loadRes([{"image_id": int(r[0]) + 1, "category_id": int(r[1]) + 1, "bbox": xywh(r[2:6]), "score": float(r[6])}
                            for r in found])
    ran = COCOeval(coco, answers, "bbox")
    ran.evaluate()
    ran.accumulate()
    ran.summarize()
    precision = ran.eval["precision"][..., -1].mean(1)          # T, K, A at 100 boxes
    recall = ran.eval["recall"]
    return np.where(precision < 0, np.nan, precision), np.where(recall < 0, np.nan, recall), ran.stats


def main():
    arrays = {}
    for seed in range(3):
        truth, found = make(seed)
        with contextlib.redirect_stdout(io.StringIO()):
            precision, recall, stats = evaluated(truth, found)
        arrays |= {f"truth{seed}": truth, f"found{seed}": found, f"precision{seed}": precision, f"recall{seed}": recall,
                   f"stats{seed}": stats}
    np.savez_compressed(Path(__file__).with_name("detection_coco.npz"), **arrays)


if __name__ == "__main__":
    main()
