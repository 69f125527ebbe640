"""What programs prepare of a model's weights (packed, folded or rounded ones), held once for all that read the same of it."""
from __future__ import annotations

from typing import TYPE_CHECKING

from dlcore.runtime.prepared import PREPARED

if TYPE_CHECKING:
    import numpy as np

    from dlcore.runtime import Program
    from dlcore.training.store import WeightStore


class Prepared:
    """Memory on a store's weights, and the program that fills it (see `preparing`).

    version: of the weights that it was made of;   generation: of the memory that these lie in"""

    def __init__(self, store: WeightStore, program: Program):
        self.program, self.instance = program, store.bind(program, {})
        self.version, self.generation = store.version, store.generation

    @property
    def memory(self) -> dict[str, np.ndarray]:
        """For `bind` of a program that reads it."""
        return {PREPARED: self.instance.buffers[PREPARED]}

    def refresh(self, store: WeightStore) -> None:
        """Prepares again where the weights have changed."""
        if self.version != store.version:
            self.instance.run("prepare")
            self.version = store.version
