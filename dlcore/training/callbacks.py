"""Callbacks: what happens around epochs and steps of `fit`.  Subclass `Callback` and override what you need.

Those that come with dlcore, under Keras' names, are found in `dlcore.callbacks`.
"""
from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

from dlcore.errors import UsageError

if TYPE_CHECKING:
    from dlcore.errors import DivergedError
    from dlcore.training.model import Model
    from dlcore.training.session import Session


class Callback:
    """`self.model` is the model that is trained, `self.params` what `fit` was called with: epochs, steps (of an epoch,
    None where that is not known), batch_size, verbose, validation (whether there is any).

    Setting `self.model.stop_training = True` ends the training after the step that runs.  Only hooks that a subclass
    overrides are called, so those of a step cost nothing where they are not used.

    A callback that remembers something from one epoch to the next gives it in `get_state` and takes it back in
    `set_state`: then a training that was interrupted goes on as if it had never stopped.
    """

    last: ClassVar[bool] = False        # whether its hooks are called after those of all others
    model: Model
    params: dict[str, Any]
    session: Session

    def set_model(self, model: Model) -> None:
        self.model = model

    def set_params(self, params: dict[str, Any]) -> None:
        self.params = params

    def get_state(self) -> dict[str, Any]:
        """What a checkpoint must keep of this callback: name -> a NumPy array, or a value that JSON knows (NaN and
        infinities are allowed), which is copied.  Arrays are not: the callback replaces them, and never writes into them."""
        return {}

    def set_state(self, state: dict[str, Any]) -> None:
        """Takes back what `get_state` gave; called after `on_train_begin` where a training is resumed."""

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Before the first epoch."""

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """After the last epoch, or after the step at which training was stopped."""

    def on_train_stop(self) -> None:
        """After the last step and epoch, before any `on_train_end`: the state is what a checkpoint should keep."""

    def on_divergence(self, failure: DivergedError) -> bool:
        """A step met a NaN or an infinity; weights and state are those before it.  True ends the training without
        raising `failure`; every callback is asked."""
        return False

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Before an epoch."""

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """After an epoch and its validation; logs: {"loss": ..., "val_loss": ..., ...}."""

    def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Before a step; batch: its number in the epoch."""

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """After a step; logs: the means of the epoch so far."""


class LambdaCallback(Callback):
    """A callback made of functions, one per hook, with the arguments that the hook has; as in Keras.

        LambdaCallback(on_epoch_end=lambda epoch, logs: print(epoch, logs["loss"]))
    """

    def __init__(self, on_epoch_begin: Any = None, on_epoch_end: Any = None, on_train_begin: Any = None,
                 on_train_end: Any = None, on_train_batch_begin: Any = None, on_train_batch_end: Any = None):
        given = {"on_epoch_begin": on_epoch_begin, "on_epoch_end": on_epoch_end, "on_train_begin": on_train_begin,
                 "on_train_end": on_train_end, "on_train_batch_begin": on_train_batch_begin,
                 "on_train_batch_end": on_train_batch_end}
        for hook, function in given.items():
            if function is not None:
                setattr(self, hook, function)       # on the instance: hooks that were not given cost nothing


class CallbackList:
    """Calls the hooks that callbacks override, in the order of the list, those with `last` at its end."""

    HOOKS = ("on_train_begin", "on_train_stop", "on_train_end", "on_divergence", "on_epoch_begin", "on_epoch_end",
             "on_train_batch_begin", "on_train_batch_end")

    def __init__(self, callbacks: Iterable[Callback], model: Model, params: dict[str, Any]):
        given = list(callbacks) if isinstance(callbacks, Iterable) else [callbacks]
        if wrong := [c for c in given if isinstance(c, type) or not hasattr(c, "set_model")]:
            raise UsageError("this is no callback", expected="a list of objects of classes that derive from dlcore.Callback",
                             got=repr(wrong[0]), hint="LambdaCallback(on_epoch_end=...) makes one of functions")
        self.callbacks = sorted(given, key=lambda callback: getattr(callback, "last", False))
        for callback in self.callbacks:
            callback.set_model(model)
            callback.set_params(params)
        self.overriding = {hook: [getattr(c, hook) for c in self.callbacks if overrides(c, hook)]
                           for hook in self.HOOKS}

    def call(self, hook: str, *arguments: Any) -> list[Any]:
        """Calls a hook of all callbacks that have it; returns what they returned."""
        return [function(*arguments) for function in self.overriding[hook]]

    def states(self) -> dict[str, dict[str, Any]]:
        """The state of every callback that has one, by class; "EarlyStopping:1" is the second of its class."""
        found = {name: callback.get_state() for name, callback in self.named().items() if hasattr(callback, "get_state")}
        return {name: state for name, state in found.items() if state}

    def named(self) -> dict[str, Callback]:
        """The callbacks by class and number."""
        out: dict[str, Callback] = {}
        for callback in self.callbacks:
            name, n = type(callback).__name__, 0
            while (key := f"{name}:{n}" if n else name) in out:
                n += 1
            out[key] = callback
        return out


def overrides(callback: Callback, hook: str) -> bool:
    """Whether a callback has a hook of its own, by its class or set on the instance."""
    own = getattr(type(callback), hook, None)       # a callback may be of another library, and lack some hooks
    return hook in vars(callback) or own is not None and own is not getattr(Callback, hook)
