"""Ending the training quietly where it diverges."""
from __future__ import annotations

import sys

from dlcore.errors import DivergedError
from dlcore.training.callbacks import Callback


class TerminateOnNaN(Callback):
    """Stops training at the first step that meets a NaN or an infinity, instead of raising DivergedError.

    The weights are those before that step.  `failure` is the error: it names the step, the learning rate and the first
    call of the network that went wrong; the same is printed on stderr.   None where all went well.
    """

    failure: DivergedError | None = None

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        self.failure = None

    def on_divergence(self, failure: DivergedError) -> bool:
        """Whether training ends without the error being raised."""
        self.failure = failure
        print(failure, file=sys.stderr)
        return True
