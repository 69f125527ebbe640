"""Callbacks: what happens around epochs and steps of `fit`.  Subclass `Callback` and override what you need."""
from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dlcore.training.model import Model


class Callback:
    """`self.model` is the model that is trained, `self.params` what `fit` was called with.

    Setting `self.model.stop_training = True` ends the training after the step that runs.  Only hooks that a subclass
    overrides are called, so those of a step cost nothing where they are not used.
    """

    model: Model
    params: dict[str, Any]

    def set_model(self, model: Model) -> None:
        self.model = model

    def set_params(self, params: dict[str, Any]) -> None:
        self.params = params

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Before the first epoch."""

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """After the last epoch, or after the step at which training was stopped."""

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Before an epoch."""

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """After an epoch and its validation; logs: {"loss": ..., "val_loss": ..., ...}."""

    def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Before a step; batch: its number in the epoch."""

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """After a step; logs: the means of the epoch so far."""


class CallbackList:
    """Calls the hooks that callbacks override, in the order of the list."""

    HOOKS = ("on_train_begin", "on_train_end", "on_epoch_begin", "on_epoch_end", "on_train_batch_begin",
             "on_train_batch_end")

    def __init__(self, callbacks: Iterable[Callback], model: Model, params: dict[str, Any]):
        self.callbacks = list(callbacks)
        for callback in self.callbacks:
            callback.set_model(model)
            callback.set_params(params)
        self.overriding = {hook: [getattr(c, hook) for c in self.callbacks if getattr(type(c), hook, None)
                                  is not getattr(Callback, hook)] for hook in self.HOOKS}

    def call(self, hook: str, *arguments: Any) -> None:
        for function in self.overriding[hook]:
            function(*arguments)
