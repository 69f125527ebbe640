"""What programs prepare of a model's weights (packed, folded or rounded ones), held once for all that read the same of it."""
from __future__ import annotations

import threading
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from dlcore.runtime import Program
    from dlcore.training.store import WeightStore


class Prepared:
    """Memory on a store's weights, and the program that fills it.   contents: see `dlcore.runtime.prepared.Share`

    version: of the weights that it was made of;   generation: of the memory that these lie in"""

    def __init__(self, store: WeightStore, program: Program, contents: Mapping[Any, int]):
        self.instance, self.contents = store.bind(program, {}), contents
        self.version, self.generation = store.version, store.generation
        self._lock = threading.Lock()

    @property
    def memory(self) -> np.ndarray:
        return self.instance.buffers["prepared"]

    def refresh(self, store: WeightStore) -> None:
        """Prepares again where the weights have changed."""
        with self._lock:
            if self.version != store.version:
                self.instance.run("prepare")
                self.version = store.version


class Pool:
    """What the programs of a model have prepared, as long as somebody holds it.   Several threads may use it.

    latest: what the last one reads, held here, so that texts written one after another prepare once"""

    def __init__(self) -> None:
        self.known: list[weakref.ref[Prepared]] = []
        self.latest: tuple[Prepared, ...] = ()
        self._lock = threading.Lock()

    def live(self) -> list[Prepared]:
        return [held for ref in self.known if (held := ref()) is not None]

    def bind(self, store: WeightStore, program: Program, data: Mapping[str, np.ndarray]) -> tuple[Any, tuple[Prepared, ...]]:
        """An instance on a store's weights and these data sets, and what it reads that was prepared: to be held as long as it is,
        and refreshed where the weights have changed.   On a GPU each instance has its own, and none is told."""
        if "prepare" not in program.segments or program.planning.get("device") == "cuda":
            return store.bind(program, dict(data)), ()
        from dlcore.runtime.prepared import share
        with self._lock:
            known = [held for held in self.live() if held.generation == store.generation]
            found = share(program, [held.contents for held in known])
            used = [known[n] for n in found.used]
            for held in used:
                held.refresh(store)
            if found.own is not None:
                used.append(Prepared(store, found.own, found.contents))
                self.known = [weakref.ref(held) for held in (*known, used[-1])]
            self.latest = tuple(used)
        memory = {f"prepared/{n}": held.memory for n, held in enumerate(used)}
        return store.bind(found.program, {**data, **memory}), tuple(used)
