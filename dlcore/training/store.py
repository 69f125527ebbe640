"""The memory of a model's weights: one flat buffer that all its programs share, and the optimizer's state beside it.

Models that share layers share a store (a feature extractor and its classifier, the halves of a GAN): the model that
comes second adds its own weights behind those that are there.  Where two stores meet in one model, one moves into the
other.
"""
from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from dlcore.layers.initializers import generator
from dlcore.runtime import look, shared_memory
from dlcore.runtime.buffers import DTYPES, return_freed

if TYPE_CHECKING:
    from dlcore.layers.layer import Variable
    from dlcore.runtime import Program

NAMES = {dtype: name for name, dtype in DTYPES.items()}
LARGE = 1 << 24             # bytes of new weights, behind whose initial values it is worth tidying up
SHARED = ("weights", "statistics", "gradients", "state")


class WeightStore:
    """parameters: names and places, for graphs.  buffers: their memory.

    version     grows whenever a weight changes, so that what was computed from weights (packed panels) is made again
    generation  grows whenever memory moves, so that instances are bound again
    """

    def __init__(self) -> None:
        from dlcore.graph.parameters import Parameters
        self.parameters = Parameters()
        self.variables: list[Variable] = []
        self.buffers: dict[str, np.ndarray] = {}
        self.claims: dict[str, weakref.ref[Any]] = {}
        self.version = self.generation = 0

    def changed(self) -> None:
        """To be called after weights were written."""
        self.version += 1

    def adopt(self, variables: Iterable[Variable], seed: int) -> None:
        """Gives every variable its place; those without a value get their initial one, drawn for (seed, position in
        model)."""
        new = []
        for index, v in enumerate(variables):
            if v.value is None:
                v.value = v.initializer(v.shape, generator(seed, index))
            if v.store is not self:
                new.append(v)
        for v in new:
            v.key = self._unique(f"{v.layer.path}/{v.name}")
            v.group = ("" if v.decay else "no_decay") if v.trainable and v.layer.trainable else "frozen"
            self.parameters.add(v.key, v.shape, "statistics" if v.statistic else "weights", v.group)
        self.parameters.freeze()
        self.reserve(self.parameters.sizes)
        self.variables += new
        freed = 0                       # since it was last returned, so that new weights are not in memory twice
        for v in new:
            view = self.view(v.key)
            view[...] = v.value
            v.value, v.store = view, self
            freed += view.nbytes
            if freed > LARGE:
                return_freed()
                freed = 0
        if new:
            self.changed()

    def _unique(self, path: str) -> str:
        name, n = path, 1
        while name in self.parameters.places:
            n += 1
            name = f"{path}:{n}"
        return name

    def view(self, name: str) -> np.ndarray:
        """The memory of a weight, a statistic or an optimizer's state."""
        place = self.parameters.places[name]
        dtype = DTYPES[place.dtype]
        memory = look(self.buffers[place.buffer])[place.offset:place.offset + place.size * dtype.itemsize]
        return memory.view(dtype).reshape(place.shape)

    def look(self, statistics: bool) -> None:
        """The weights, or the statistics, are about to be read or written by the processor."""
        look(self.buffers["statistics" if statistics else "weights"])

    def reserve(self, sizes: dict[str, int]) -> None:
        """Makes the shared buffers at least this large; what they hold stays."""
        moved = False
        for name in SHARED:
            size, old = sizes.get(name, 0), self.buffers.get(name)
            if old is None or len(old) < size:
                self.buffers[name] = shared_memory(size)
                if old is not None:
                    self.buffers[name][:len(old)] = look(old)
                    moved = moved or len(old) > 0
        if moved:
            self.generation += 1
            self.changed()
            for v in self.variables:
                v.value = self.view(v.key)

    def bind(self, program: Program, data: dict[str, np.ndarray]) -> Any:
        """An instance of a program on this memory and these data sets."""
        known, asked = self.parameters.sizes, program.sizes     # of a program that was planned before others, less than is known
        self.reserve({n: max(known.get(n, 0), asked.get(n, 0)) for n in SHARED})
        return program.bind({**{n: self.buffers[n] for n in SHARED if n in program.sizes}, **data})

    def claim(self, name: str, owner: Any) -> str:
        """A name for the state of `owner`'s optimizer that no other model of this store uses; the state starts at
        zero."""
        free, n = name, 1
        while (other := self.claims.get(free)) is not None and other() not in (None, owner):
            n += 1
            free = f"{name}_{n}"
        self.claims[free] = weakref.ref(owner)
        for view in self.state(free).values():
            view[...] = 0
        return free

    def state(self, optimizer: str) -> dict[str, np.ndarray]:
        """Views of the state of the optimizer of that name."""
        self.reserve(self.parameters.sizes)
        return {n: self.view(n) for n, p in self.parameters.places.items()
                if p.buffer == "state" and n.startswith(f"{optimizer}/")}


    def take_state(self, arrays: dict[str, np.ndarray]) -> None:
        """Copies the optimizer's state in, giving it its places if it has none yet."""
        for name, a in arrays.items():
            self.parameters.add(name, a.shape, "state", dtype=NAMES[a.dtype])
        self.reserve(self.parameters.sizes)
        for name, a in arrays.items():
            self.view(name)[...] = a


def store_of(variables: list[Variable], seed: int) -> WeightStore:
    """The store that holds all of these, made or joined where need be."""
    stores = list(dict.fromkeys(v.store for v in variables if v.store is not None))
    store = stores[0] if stores else WeightStore()
    for other in stores[1:]:
        for v in other.variables:
            v.value, v.store = v.value.copy(), None
        store.adopt(other.variables, seed)
        other.variables = []
        other.generation += 1
        other.changed()
    store.adopt(variables, seed)
    return store
