"""What stands between the arguments of `fit` and the loop: data, its validation part, callbacks as hooks."""
from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from dlcore.data.loader import MappedRows, Source, mapped
from dlcore.errors import DataError, UsageError
from dlcore.training import dataset
from dlcore.training.callbacks import CallbackList
from dlcore.training.dataset import DataSet
from dlcore.training.feed import ArrayFeed, IterableFeed
from dlcore.training.loaded import LoadedFeed
from dlcore.training.loop import EpochReport, Loop

if TYPE_CHECKING:
    from dlcore.training.model import Model
    from dlcore.training.session import Session

Feed = ArrayFeed | IterableFeed | LoadedFeed


def is_batches(x: Any, y: Any) -> bool:
    """Whether x is an iterable of batches, not an array."""
    return y is None and not hasattr(x, "__array__") and not hasattr(x, "__dlpack__")


def is_stream(x: Any) -> bool:
    """Whether x yields batches one after another: an iterator, or an iterable that is neither an array nor a collection of them."""
    arrays = (list, tuple, dict, str, bytes, Source)
    return not hasattr(x, "__array__") and not hasattr(x, "__dlpack__") and isinstance(x, Iterable) and not isinstance(x, arrays) \
        and not isinstance(x, Mapping)


def as_source(x: Any, y: Any, sample_weight: Any) -> Source | None:
    """The source that x is, or that an array in a file becomes; None for data in memory."""
    if isinstance(x, Source):
        if y is not None or sample_weight is not None:
            raise UsageError("a source has its targets and weights with it",
                             hint="Augment.parse('flip')(x, y), or MappedRows(x, y)")
        return x
    return MappedRows(x, y, weight=sample_weight) if mapped(x) and y is not None else None


def array_feed(model: Model, data: DataSet, batch_size: int, shuffle: bool) -> ArrayFeed:
    """A feed of checked data in the model's order of epochs."""
    return ArrayFeed(model, data, batch_size, shuffle, model.state.seed)


def batch_feed(model: Model, batches: Iterable[Any], steps_per_epoch: int | None,
               class_weight: Mapping[int, float] | None) -> IterableFeed:
    """A feed of the user's own batches; the first builds a model that has no input shape."""
    if not model.built:
        if iter(batches) is iter(batches):
            raise UsageError("a model without input shape cannot be fitted to a generator",
                             hint="model.build((None, 784))")
        first = next(iter(batches), None)
        if first is None:
            raise DataError("the iterable of batches is empty")
        model.build_from(first[0])
    return IterableFeed(model, batches, steps_per_epoch, class_weight, model.state.seed)


def hold_back(data: DataSet, share: float, verbose: int) -> tuple[DataSet, DataSet]:
    """(training, validation) by `validation_split`; says on stderr which rows were held back."""
    train, held = dataset.split(data, share)
    if verbose:
        print(dataset.describe_split(held, data.rows, share), file=sys.stderr)
        if dataset.looks_sorted(data.y[0]):
            print("warning: the rows look sorted by label, so the validation part is not like the training part; "
                  "shuffle them first", file=sys.stderr)
    return train, held


def connect_hooks(model: Model, loop: Loop, hooks: CallbackList, session: Session) -> None:
    """Callbacks become hooks of the loop; those that nobody overrides are left out."""
    def on_epoch_begin(epoch: int) -> None:
        hooks.call("on_epoch_begin", epoch - session.first, {})

    def on_step_begin(position: int) -> None:
        hooks.call("on_train_batch_begin", position, {})
    if hooks.overriding["on_epoch_begin"]:
        loop.on_epoch_begin = on_epoch_begin
    if hooks.overriding["on_train_batch_begin"]:
        loop.on_step_begin = on_step_begin
    if hooks.overriding["on_train_batch_end"]:
        def on_step(position: int) -> None:
            hooks.call("on_train_batch_end", position, loop.logs())
            loop.stop = model.stop_training
        loop.on_step = on_step


def line(report: EpochReport, number: int, epochs: int) -> str:
    """An epoch on one line: "epoch 3/10  0.8s  loss 0.1234  accuracy 0.9876"."""
    logs = "  ".join(f"{n} {v:.4f}" for n, v in report.logs.items())
    return f"epoch {number}/{epochs}  {report.seconds:.1f}s  {logs}"
