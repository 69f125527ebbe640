"""Losses of detectors by their definitions, in float64; gradients written out box by box."""
import numpy as np

from dlcore.ops.box_loss import CENTRE, FEWEST, SIZE
from dlcore.ops.box_match.ref import CELLS, NONE, PRIORS, drawn, match_cells, match_priors
from dlcore.ops.case import Case, random


def sigmoid(x):
    return np.exp(-np.logaddexp(0, -x))


def cross_entropy(z, t):
    return np.logaddexp(0, z) - z * t


def meant(z, cell):
    """(x, y, w, h) of a place, and the derivatives of the four by their logits."""
    s = sigmoid(z[:4])
    value = np.array([*(2 * s[:2] - 0.5 + cell[:2]) * cell[2], *4 * s[2:] ** 2 * cell[3:]])
    slope = np.array([*2 * cell[2] * s[:2] * (1 - s[:2]), *8 * s[2:] ** 2 * (1 - s[2:]) * cell[3:]])
    return value, slope


def overlap(box, corners):
    inner, union = _areas(box, corners)
    return inner / union


def _areas(box, corners):
    low, high = np.maximum(box[:2] - box[2:] / 2, corners[:2]), np.minimum(box[:2] + box[2:] / 2, corners[2:])
    inner = np.maximum(high - low, 0).prod()
    return inner, box[2:].prod() + (corners[2:] - corners[:2]).prod() - inner


def complete(box, corners):
    """(CIoU, its gradient by x, y, w, h)."""
    x, y, w, h = box
    low, high = box[:2] - box[2:] / 2, box[:2] + box[2:] / 2
    sides = np.maximum(np.minimum(high, corners[2:]) - np.maximum(low, corners[:2]), 0)
    inner, union = _areas(box, corners)
    iou = inner / union
    dinner, dhull = np.zeros(4), np.zeros(4)
    hull = np.maximum(high, corners[2:]) - np.minimum(low, corners[:2])
    for a in range(2):
        upper, lower = float(high[a] < corners[2 + a]), float(low[a] > corners[a])
        if sides[a] > 0:
            dinner[a], dinner[2 + a] = np.array([upper - lower, (upper + lower) / 2]) * sides[1 - a]
        upper, lower = float(high[a] > corners[2 + a]), float(low[a] < corners[a])
        dhull[a], dhull[2 + a] = upper - lower, (upper + lower) / 2
    darea = np.array([0, 0, h, w])
    diou = (dinner - iou * (darea - dinner)) / union
    c2, off = (hull ** 2).sum(), box[:2] - (corners[:2] + corners[2:]) / 2
    r2 = (off ** 2).sum()
    dc2 = 2 * np.array([hull[0], hull[1], hull[0], hull[1]]) * dhull
    daway = (np.array([*2 * off, 0, 0]) - r2 / c2 * dc2) / c2
    t = corners[2:] - corners[:2]
    turned = np.arctan(t[0] / t[1]) - np.arctan(w / h)
    v = 4 / np.pi**2 * turned**2
    dv = 8 / np.pi**2 * turned * np.array([0, 0, -h, w]) / (w * w + h * h)
    rest = 1 - iou + v + 1e-7
    dlast = v * (2 * rest - v) / rest**2 * dv + v**2 / rest**2 * diou
    return iou - r2 / c2 - v**2 / rest, diou - daway - dlast


def yolo_quality(z, boxes, matched, cells):
    out = np.zeros(matched.shape)
    for b, p in zip(*np.nonzero(matched >= 0), strict=True):
        out[b, p] = overlap(meant(z[b, p], cells[p])[0], boxes[b, matched[b, p], 1:])
    return out


def yolo_parts(z, boxes, matched, cells, quality, box, objectness, classes):
    loss, slope = np.zeros(len(z)), np.zeros(z.shape)
    for b in range(len(z)):
        n = max(1, np.count_nonzero(matched[b] >= 0))
        loss[b] = objectness / n * cross_entropy(z[b, :, 4], quality[b]).sum()
        slope[b, :, 4] = objectness / n * (sigmoid(z[b, :, 4]) - quality[b])
        for p in np.flatnonzero(matched[b] >= 0):
            truth = boxes[b, matched[b, p]]
            value, by = meant(z[b, p], cells[p])
            ciou, gradient = complete(value, truth[1:])
            hot = np.arange(z.shape[2] - 5) == truth[0]
            loss[b] += box / n * (1 - ciou) + classes / n * cross_entropy(z[b, p, 5:], hot).mean()
            slope[b, p, :4] = -box / n * gradient * by
            slope[b, p, 5:] = classes / n * (sigmoid(z[b, p, 5:]) - hot) / len(hot)
    return loss, slope


def yolo_loss(z, boxes, matched, cells, quality, box=1.0, objectness=1.0, classes=1.0):
    return yolo_parts(z, boxes, matched, cells, quality, box, objectness, classes)[0]


def yolo_loss_backward(dloss, z, boxes, matched, cells, quality, box=1.0, objectness=1.0, classes=1.0):
    return {"z": yolo_parts(z, boxes, matched, cells, quality, box, objectness, classes)[1] * dloss[:, None, None]}


def prior_parts(z, boxes, matched, priors, negatives):
    loss, slope = np.zeros(len(z)), np.zeros(z.shape)
    for b in range(len(z)):
        logits = z[b, :, 4:]
        logp = logits - np.logaddexp.reduce(logits, 1, keepdims=True)
        positive = np.flatnonzero(matched[b] >= 0)
        n = max(1, len(positive))
        background = np.flatnonzero(matched[b] == -1)
        order = np.argsort(logp[background, 0], kind="stable")
        labels = {p: 0 for p in background[order[:max(int(negatives * len(positive)), FEWEST)]]}
        for p in positive:
            truth, prior = boxes[b, matched[b, p], 1:], priors[b, p]
            size, centre = prior[2:] - prior[:2], (prior[:2] + prior[2:]) / 2
            offsets = np.concatenate([((truth[:2] + truth[2:]) / 2 - centre) / size / CENTRE,
                                      np.log((truth[2:] - truth[:2]) / size) / SIZE])
            e = z[b, p, :4] - offsets
            loss[b] += np.where(abs(e) < 1, e * e / 2, abs(e) - 0.5).sum() / n
            slope[b, p, :4] = np.clip(e, -1, 1) / n
            labels[p] = int(boxes[b, matched[b, p], 0]) + 1
        for p, label in labels.items():
            loss[b] -= logp[p, label] / n
            slope[b, p, 4:] = (np.exp(logp[p]) - (np.arange(logits.shape[1]) == label)) / n
    return loss, slope


def prior_loss(z, boxes, matched, priors, negatives=3.0):
    return prior_parts(z, boxes, matched, priors, negatives)[0]


def prior_loss_backward(dloss, z, boxes, matched, priors, negatives=3.0):
    return {"z": prior_parts(z, boxes, matched, priors, negatives)[1] * dloss[:, None, None]}


def yolo_cases(id, boxes, count=3, seed=1, **options):
    z = random(len(boxes), len(CELLS), 5 + count, seed=seed)
    given = {"z": z, "boxes": boxes, "matched": match_cells(boxes, CELLS), "cells": CELLS}
    quality = yolo_quality(**given).astype(np.float32).astype(np.float64)
    yield Case("yolo_quality", id, given, yolo_quality)
    yield Case("yolo_loss", id, {**given, "quality": quality}, yolo_loss, yolo_loss_backward, ["z"], options,
               tolerance=4e-6)


def prior_cases(id, boxes, count=3, **options):
    z = random(len(boxes), len(CELLS), 5 + count, seed=3)
    priors = PRIORS[:len(boxes)]
    given = {"z": z, "boxes": boxes, "matched": match_priors(boxes, priors, 0.3, 0.45), "priors": priors}
    yield Case("prior_loss", id, given, prior_loss, prior_loss_backward, ["z"], options, tolerance=4e-6)


CASES = [
    *yolo_cases("odd", drawn(3, 5, 40, 32)), *yolo_cases("one-class", drawn(3, 7, 40, 32, 5, 1), 1, 4),
    *yolo_cases("weighed", drawn(1, 3, 40, 32, 8, 2), 2, 6, box=2.0, objectness=0.3, classes=0.7), *yolo_cases("none", NONE),
    *prior_cases("odd", drawn(3, 5, 40, 32)), *prior_cases("one-class", drawn(3, 7, 40, 32, 5, 1), 1),
    *prior_cases("few-negatives", drawn(3, 4, 40, 32, 7), negatives=1.0), *prior_cases("none", NONE[:, :1]),
]
