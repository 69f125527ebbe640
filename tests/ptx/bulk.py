"""Copies of the bulk engine (`cp.async.bulk`) and the barriers that count their bytes (`mbarrier`).

What is copied lands when somebody finds its barrier's phase over, not before; until then its place holds garbage that no product
may read.  Waiting for a phase that nobody has begun is an error, for the interpreter has no later to wait for: who asks for copies
does so before a barrier of the block that those who wait have passed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ptx.parse import Instruction, Kernel, PtxError


@dataclass
class Counter:
    """A barrier in shared memory.  phase: how many are over."""

    threads: int
    maker: int
    epoch: int
    shown: bool = False
    phase: int = 0
    arrived: int = 0
    announced: int = 0
    copies: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)


def _readers(kernel: Kernel, operands: list[Any], kinds: tuple[Any, ...]) -> list[Any]:
    from ptx.instructions import address_of, reader

    return [address_of(kernel, o) if k is None else reader(kernel, o, k) for o, k in zip(operands, kinds, strict=True)]


def _threads(machine: Any, mask: Any) -> np.ndarray:
    return np.arange(machine.T) if mask is None else np.flatnonzero(mask)


def _counter(machine: Any, thread: int, address: int) -> Counter:
    """The barrier at an address, as a thread sees it."""
    found = machine.counters.get((int(machine.block_of[thread]), int(address)))
    if found is None:
        raise PtxError("there is no mbarrier at this address")
    if found.maker != thread and found.epoch >= machine.epoch[machine.block_of[thread] // machine.cluster]:
        raise PtxError("an mbarrier is used that no barrier of the block has shown since it was made")
    return found


def _initialize(kernel: Kernel, i: Instruction) -> Any:
    address, threads = _readers(kernel, i.operands, (None, np.uint32))

    def act(machine: Any, mask: Any) -> None:
        at, count = machine.whole(address(machine)), machine.whole(threads(machine))
        for t in _threads(machine, mask):
            block = int(machine.block_of[t])
            machine.counters[block, int(at[t])] = Counter(int(count[t]), int(t), int(machine.epoch[block // machine.cluster]))

    return act


def _announce(kernel: Kernel, i: Instruction) -> Any:
    address, size = _readers(kernel, i.operands[1:], (None, np.uint32))

    def act(machine: Any, mask: Any) -> None:
        at, count = machine.whole(address(machine)), machine.whole(size(machine))
        for t in _threads(machine, mask):
            counter = _counter(machine, t, at[t])
            counter.arrived += 1
            counter.announced += int(count[t])
            if counter.arrived > counter.threads:
                raise PtxError("more threads arrive at an mbarrier than it was made for")

    return act


def _over(machine: Any, thread: int, counter: Counter, parity: int) -> None:
    """Lets what this phase waits for land, if the phase of that parity is not over yet."""
    if counter.phase & 1 != parity:
        return
    if counter.arrived < counter.threads:
        raise PtxError("an mbarrier's phase is waited for that nobody has begun")
    if sum(at.size for at, _ in counter.copies) != counter.announced:
        raise PtxError(f"{counter.announced} bytes were announced to an mbarrier, others are copied")
    for at, bytes_ in counter.copies:
        machine.shared[at] = bytes_
        machine.coming[at >> 2] = False
    counter.phase, counter.arrived, counter.announced, counter.copies = counter.phase + 1, 0, 0, []


def _wait(kernel: Kernel, i: Instruction) -> Any:
    address, parity = _readers(kernel, i.operands[1:], (None, np.uint32))

    def act(machine: Any, mask: Any) -> None:
        at, wanted = machine.whole(address(machine)), machine.whole(parity(machine))
        threads = _threads(machine, mask)
        seen = np.stack([machine.block_of[threads], at[threads].astype(np.int64), wanted[threads].astype(np.int64)])
        for t in threads[np.unique(seen, axis=1, return_index=True)[1]]:
            _over(machine, t, _counter(machine, t, at[t]), int(wanted[t]) & 1)
        machine.put(i.operands[0].name, np.ones(machine.T, bool), mask)

    return act


def _barrier(kernel: Kernel, i: Instruction) -> Any:
    makers = {"init": _initialize, "arrive": _announce, "try_wait": _wait}
    maker = makers.get(i.words[1])
    if maker is None or (i.words[1] == "arrive" and "expect_tx" not in i.words):
        raise PtxError(f"the interpreter does not know {'.'.join(i.words)}")
    return maker(kernel, i)


def copy(kernel: Kernel, i: Instruction) -> Any:
    """cp.async.bulk from global to shared memory of the same block."""
    to, source, size, barrier = _readers(kernel, i.operands, (None, None, np.uint32, None))

    def act(machine: Any, mask: Any) -> None:
        places, sources, sizes, barriers = (machine.whole(r(machine)) for r in (to, source, size, barrier))
        for t in _threads(machine, mask):
            place, count = int(places[t]), int(sizes[t])
            if place % 16 or int(sources[t]) % 16 or count % 16 or place + count > machine.shared_size:
                raise PtxError("a bulk copy that is misaligned or leaves shared memory")
            counter = _counter(machine, t, barriers[t])
            if not counter.shown:
                raise PtxError("an mbarrier that fence.mbarrier_init has not shown to the bulk engine")
            words = np.arange(int(sources[t]), int(sources[t]) + count, 4)
            found = machine.memory.check(words, 4)
            machine.memory.touched(found, 4, *(k[t].repeat(words.size) for k in (machine.key, machine.base)), None,
                                   machine.mark[t].repeat(words.size))  # fmt: skip
            at = machine.block_of[t] * machine.shared_size + place + np.arange(count)
            _arrive_at(machine, t, at[::4] >> 2)
            machine.shared[at] = 0xCB
            counter.copies.append((at, machine.memory.bytes[found[0] : found[0] + count].copy()))

    return act


def _arrive_at(machine: Any, thread: int, words: np.ndarray) -> None:
    """Shared memory that a copy is to overwrite is nobody's: read since the block's last barrier, or by a product under way."""
    last, base, key = machine.last_read[words], machine.base[thread], machine.key[thread]
    conflict = (last >= base) & (last != key)
    if conflict.any():
        machine.race(words, conflict, "overwritten")
    if machine.products and machine.products.reading[words].any():
        raise PtxError("shared memory is overwritten while a product reads it")
    if machine.coming[words].any():
        raise PtxError("two copies to the same shared memory")
    machine.coming[words] = True


def show(machine: Any, mask: Any) -> None:
    """fence.mbarrier_init of these threads."""
    threads = set(_threads(machine, mask).tolist())
    for counter in machine.counters.values():
        counter.shown = counter.shown or counter.maker in threads


MAKERS: dict[str, Callable[[Kernel, Instruction], Any]] = {"mbarrier": _barrier}
