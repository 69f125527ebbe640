"""Programs, or instances of them, by shape: the one not used for longest goes first."""
from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

OWN = ("arena", "inputs", "outputs", "prepared", "cache")       # buffers that belong to one program's instance


def program_bytes(value: Any) -> int:
    """Bytes of the buffers that a Program's (or an Instance's) shape alone decides."""
    sizes = getattr(value, "program", value).sizes
    return sum(sizes.get(buffer, 0) for buffer in OWN)


class ProgramCache:
    """At most `limit_bytes` of programs by key (shapes, training or not, ...); `cost(value)` is a program's share.

    What was used last stays, even where it alone is over the limit.  Safe for several threads: each key is made once."""

    def __init__(self, limit_bytes: int = 1 << 30, cost: Callable[[Any], int] = program_bytes) -> None:
        self.limit_bytes, self.cost = limit_bytes, cost
        self.bytes = 0
        self._entries: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._lock = threading.RLock()

    def get(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """What is known for the key, else what `make()` returns."""
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
                return self._entries[key][0]
            value = make()
            size = self.cost(value)
            self._entries[key] = value, size
            self.bytes += size
            while self.bytes > self.limit_bytes and len(self._entries) > 1:
                self.bytes -= self._entries.popitem(last=False)[1][1]
            return value

    def clear(self) -> None:
        with self._lock:
            self._entries.clear()
            self.bytes = 0

    def values(self) -> list[Any]:
        """What is kept, the least recently used first."""
        with self._lock:
            return [value for value, _ in self._entries.values()]

    def items(self) -> list[tuple[Hashable, Any]]:
        """What is held now, by key."""
        with self._lock:
            return [(key, entry[0]) for key, entry in self._entries.items()]

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._entries
