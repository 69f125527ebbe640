"""Where the memory of a model lies: names, shapes and places that all graphs of the model share."""
from __future__ import annotations

from dataclasses import dataclass
from math import prod

from dlcore.errors import ShapeError, UsageError
from dlcore.graph.spec import DTYPES

PAD = 16            # elements: 64 bytes of float32
ALIGN = 64          # bytes
SORTED = ("weights", "statistics")      # placed by (group, creation) when they are first planned
APPENDED = ("state", "cache")           # placed when they are first asked for


def padded(elements: int) -> int:
    return -(-elements // PAD) * PAD


@dataclass(slots=True)
class Place:
    """One array in one of the buffers that a model keeps.  offset: bytes, -1 before `freeze`."""

    buffer: str
    shape: tuple[int, ...]
    dtype: str
    group: str = ""
    offset: int = -1

    @property
    def size(self) -> int:
        return prod(self.shape)


class Parameters:
    """Names, groups, shapes and places of what a model keeps: weights and statistics (kept, not trained), state of the
    optimizer, caches.  Training, inference, another batch and one half of a GAN share it, so all their programs agree on
    where a weight, its gradient (same offset in `gradients`) and its state lie.

    A place never moves once it is fixed; what is added after the first plan is placed behind.
    """

    def __init__(self) -> None:
        self.places: dict[str, Place] = {}
        self.sizes: dict[str, int] = dict.fromkeys((*SORTED, *APPENDED), 0)     # bytes
        self.wide: bool | None = None       # the first graph decides
        self._loose: list[str] = []         # not placed yet, in order of creation

    def add(self, name: str, shape: tuple[int, ...], buffer: str, group: str = "", dtype: str = "f32") -> Place:
        """The place called `name`, made if it is new.  ShapeError if it is known with another shape, dtype or buffer."""
        place = self.places.get(name)
        if place is None:
            place = self.places[name] = Place(buffer, tuple(shape), dtype, group)
            if buffer in SORTED:
                self._loose.append(name)
            else:
                self._append(place)
        elif (place.buffer, place.shape, place.dtype) != (buffer, tuple(shape), dtype):
            raise ShapeError(f"{name!r} is known otherwise", where=f"parameter {name}",
                             expected=f"{place.dtype}{list(place.shape)} in {place.buffer}",
                             got=f"{dtype}{list(shape)} in {buffer}", hint="names are unique in a model")
        return place

    def freeze(self) -> None:
        """Fixes the places of what has none yet, sorted by (group, creation)."""
        for name in sorted(self._loose, key=lambda n: self.places[n].group):
            self._append(self.places[name])
        self._loose.clear()

    def _append(self, place: Place) -> None:
        place.offset = self.sizes[place.buffer]
        item = DTYPES[place.dtype]
        taken = padded(place.size) * item if place.buffer in SORTED else -(-place.size * item // ALIGN) * ALIGN
        self.sizes[place.buffer] += taken

    def range(self, names: list[str]) -> tuple[int, int]:
        """First and last element + 1 of weights that lie side by side: what one optimizer call updates."""
        self.freeze()
        places = sorted((self.places[n] for n in names), key=lambda p: p.offset)
        stops = [p.offset + padded(p.size) * DTYPES[p.dtype] for p in places]
        if not places or any(stop != p.offset for stop, p in zip(stops, places[1:])):
            raise UsageError("these weights do not lie side by side", got=", ".join(sorted(names)),
                             hint="put weights that are updated together into one group")
        item = DTYPES[places[0].dtype]
        return places[0].offset // item, stops[-1] // item

    def runs(self, names: list[str]) -> list[list[str]]:
        """The names in order of their places, cut where another weight lies between: one list per optimizer call."""
        self.freeze()
        runs: list[list[str]] = []
        stop = -1
        for name in sorted(names, key=lambda n: self.places[n].offset):
            place = self.places[name]
            if place.offset != stop:
                runs.append([])
            runs[-1].append(name)
            stop = place.offset + padded(place.size) * DTYPES[place.dtype]
        return runs
