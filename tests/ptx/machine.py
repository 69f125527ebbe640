"""Runs PTX with NumPy: one vector holds a register of all threads of many blocks.

The next instruction is always the earliest that some thread stands at, so that threads which parted meet again.  What a GPU does
not forgive raises PtxError: memory that no array of the launch owns, misaligned addresses, collective instructions in divergent
code, barriers that never complete, and races: shared memory touched by two warps of a block, or global memory by two warps at all,
one of them writing another value, with no barrier between; or either of them by two lanes of a warp that has not met between.
The blocks of a cluster count as one whose barrier holds all their threads; each has its own shared memory, into which the others
may write.  `shuffle` lets warps run in random order, in which code
that lacks a barrier or a wait gives other numbers.  Registers and shared memory begin as garbage.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from ptx.bulk import Counter
from ptx.lanes import TOGETHER, Lanes, marks
from ptx.memory import Memory
from ptx.parse import Kernel, PtxError, parse
from ptx.warpgroup import Products

BATCH = 8192  # threads at a time, at most, but always whole blocks
RUNS, WAITS, GONE, PARKED = range(4)  # of threads; parked: at a warp's instruction, for the other lanes
REMOTE = 1 << 24  # byte 0 of shared memory of the first block of a cluster, as `mapa` has it; of the second it is twice that
MANY = 0xFFF  # in the place of a warp: several
COLLECTIVE = {"shfl": 32, "vote": 32, "ldmatrix": 32, "mma": 32, "redux": 32, "wgmma": 128,
              "bar": 32, "barrier": 32}  # threads that come to it together  # fmt: skip


def launch(kernel: Kernel | str, blocks: int, block: int, arguments: list[Any], memory: Memory, shuffle: int | None = None,
           shared: int = 0) -> int:  # fmt: skip
    """Runs a grid of `blocks` blocks; returns how many instructions were taken.  shared: bytes that the kernel does not declare."""
    kernel = parse(kernel) if isinstance(kernel, str) else kernel
    memory.begin_launch()
    if blocks % kernel.cluster:
        raise PtxError(f"{kernel.name}: {blocks} blocks are no whole clusters of {kernel.cluster}")
    at_once, steps = max(1, BATCH // (block * kernel.cluster)) * kernel.cluster, 0
    for first in range(0, blocks, at_once):
        machine = Machine(kernel, first, min(at_once, blocks - first), block, blocks, arguments, memory, shuffle, shared)
        machine.run()
        steps += machine.steps
    return steps


class Machine:
    """Some blocks of one launch.

    R        registers: arrays over threads, or numbers where all threads agree
    pc, status   of each thread, where they have parted; `uniform` is the place where all stand together, -1 else"""

    def __init__(self, kernel: Kernel, first: int, blocks: int, block: int, grid: int, arguments: list[Any], memory: Memory,
                 shuffle: int | None, shared: int = 0) -> None:  # fmt: skip
        from ptx.instructions import compile_instruction

        self.kernel, self.memory, self.blocks, self.block = kernel, memory, blocks, block
        self.cluster, self.team = kernel.cluster, block * kernel.cluster  # team: threads that barriers hold together
        self.T = T = blocks * block
        threads = np.arange(T, dtype=np.uint32)
        self.thread, self.lane = threads % np.uint32(block), threads & np.uint32(31)
        self.block_of, self.warp_of = (threads // np.uint32(block)).astype(np.int64), (threads >> np.uint32(5)).astype(np.int64)
        one, zero = np.uint32(1), np.uint32(0)
        self.special = {"%tid.x": self.thread, "%ntid.x": np.uint32(block), "%nctaid.x": np.uint32(grid),
                        "%ctaid.x": np.uint32(first) + self.block_of.astype(np.uint32), "%laneid": self.lane,
                        "%warpid": self.thread >> np.uint32(5), "%dynamic_smem_size": np.uint32(shared)}  # fmt: skip
        self.special |= {f"%{n}.{a}": zero for n in ("tid", "ctaid") for a in "yz"}
        self.special |= {f"%{n}.{a}": one for n in ("ntid", "nctaid") for a in "yz"}
        self.first = first
        self.arguments = dict(zip((n for n, _ in kernel.parameters), arguments, strict=True))
        self.R: dict[str, Any] = {}
        self.shared_size = -(-max(kernel.shared_bytes + shared, 16) // 16) * 16
        self.shared = np.full(blocks * self.shared_size, 0xCB, np.uint8)
        self.local_size = -(-max(kernel.local_bytes, 8) // 8) * 8
        self.local = np.full(T * self.local_size, 0xCB, np.uint8)
        words = blocks * self.shared_size // 4
        self.last_write, self.last_read = (np.full(words, -1, np.int64) for _ in range(2))  # key of who touched a word
        self.lanes = Lanes(words)
        self.epoch = np.ones(blocks // self.cluster, np.int64)  # barriers that a block, or a cluster, has passed
        self.met = np.zeros(-(-T // 32), np.int64)  # barriers of its own that a warp has passed
        self.arrived = np.zeros(T, bool)  # at the cluster's barrier
        self.visited, self.left = (np.zeros(blocks // self.cluster, np.int64) for _ in range(2))  # epochs, see `remote`
        self.identify()
        self.pc, self.status = np.zeros(T, np.int64), np.zeros(T, np.int8)
        self.uniform, self.steps = 0, 0
        self.waiting: list[list[Any]] = []  # groups of cp.async; and copies that are in none yet
        self.open: list[tuple[Any, ...]] = []
        self.flying = np.zeros(words, bool)  # words that copies of cp.async are on their way to
        self.counters: dict[tuple[int, int], Counter] = {}  # mbarriers, by block and address
        self.coming = np.zeros(words, bool)  # words that copies of the bulk engine are on their way to
        self.products = Products(self) if any(i.words[0] == "wgmma" for i in kernel.code) else None
        self.random = np.random.default_rng(shuffle) if shuffle is not None else None
        compiled = kernel.__dict__.setdefault("compiled", [])
        if not compiled:
            compiled += [compile_instruction(kernel, i) for i in kernel.code]
        self.compiled: list[Callable[[Machine, Any], None]] = compiled

    # ---- order ---------------------------------------------------------------------------------------------------
    def run(self) -> None:
        with np.errstate(all="ignore"):
            if self.random is not None:
                self.part(0)
            while True:
                if self.uniform >= 0:
                    self.straight(self.uniform, None)
                    continue
                running = self.status == RUNS
                if not running.any():
                    if (self.status == GONE).all():
                        return
                    place = "barrier" if (self.status == WAITS).any() else "collective instruction in divergent code"
                    count = int((self.status != GONE).sum())
                    raise PtxError(f"{self.kernel.name}: {count} threads wait for others for ever, at a {place}")
                if self.random is not None:
                    some = np.repeat(self.random.random(-(-self.T // 32)) < 0.3, 32)[: self.T] & running
                    running = some if some.any() else running
                at = int(self.pc[running].min())
                mask = running & (self.pc == at)
                if self.random is None and mask.all():
                    self.uniform = at
                else:
                    self.straight(at, mask)

    def part(self, at: int) -> None:
        """From now on threads stand at places of their own."""
        self.uniform = -1
        self.pc[:] = at

    def straight(self, at: int, mask: Any) -> None:
        """From an instruction on, up to one that others may come from, or that parts the threads."""
        code, leaders, first = self.kernel.code, self.kernel.leaders, True
        while True:
            if not first and at in leaders and mask is not None:
                self.pc[mask] = at
                return
            first, i = False, code[at]
            self.steps += 1
            word = i.words[0]
            if mask is not None and word in COLLECTIVE:
                mask = self.gather(at, mask, COLLECTIVE[word])
                if mask is None:
                    return
            if word in ("bra", "ret", "exit", "bar", "barrier") and "warp" not in i.words:
                at, mask = self.flow(i, at, mask)
                if at < 0:
                    return
                continue
            taken = mask
            if i.predicate:
                taken = self.predicate(i)
                if mask is not None:
                    taken = taken & mask
                if not np.any(taken):
                    at += 1
                    continue
                taken = None if np.ndim(taken) == 0 or taken.all() else taken
            try:
                if self.products and word != "wgmma":
                    self.products.check(i, taken)
                self.compiled[at](self, taken)
            except PtxError as e:
                raise PtxError(f"{self.kernel.name}: {e}\n  at: {i.text}") from None
            at += 1

    def predicate(self, i: Any) -> Any:
        p = self.R[i.predicate]
        return ~p if i.negated else p

    def flow(self, i: Any, at: int, mask: Any) -> tuple[int, Any]:
        """A branch, a return or a barrier: (where to go on, who); -1 where the scheduler decides."""
        if i.words[0] in ("bar", "barrier"):
            return self.barrier(i, at, mask)
        taken = np.True_ if not i.predicate else self.predicate(i)
        if mask is not None:
            taken = taken & mask
        everyone = bool(np.all(taken)) if mask is None else bool((taken == mask).all())
        if not np.any(taken):
            return at + 1, mask
        if i.words[0] == "bra":
            if everyone:
                if mask is None:
                    return i.target, None
                self.pc[mask] = i.target
                return -1, None
            if mask is None:
                self.part(at + 1)
            else:
                self.pc[mask] = at + 1
            self.pc[np.broadcast_to(taken, self.T)] = i.target
            return -1, None
        if mask is None:
            self.part(at + 1)
        else:
            self.pc[mask] = at + 1
        self.status[np.broadcast_to(taken, self.T)] = GONE
        if self.cluster > 1:
            here = np.unique(self.block_of[np.broadcast_to(taken, self.T)] // self.cluster)
            self.left[here] = self.epoch[here]
            self.check_visits(here)
        self.release()
        return -1, None

    def barrier(self, i: Any, at: int, mask: Any) -> tuple[int, Any]:
        here = slice(None) if mask is None else mask
        if i.predicate:
            raise PtxError(f"the interpreter does not know barriers under a condition: {i.text}")
        if ("cluster" in i.words) != (self.cluster > 1):
            raise PtxError(f"{self.kernel.name}: {i.text} in a kernel with clusters of {self.cluster} blocks")
        if "arrive" in i.words:
            if self.arrived[here].any():
                raise PtxError(f"{self.kernel.name}: threads arrive at a barrier again that they have not waited at")
            self.arrived[here] = True
            return at + 1, mask
        if self.cluster > 1:
            if not self.arrived[here].all():
                raise PtxError(f"{self.kernel.name}: threads wait at a barrier that they have not arrived at")
            self.arrived[here] = False
        if mask is None:
            self.epoch += 1
            self.identify()
            return at + 1, None
        self.pc[mask], self.status[mask] = at + 1, WAITS
        self.release()
        return -1, None

    def gather(self, at: int, mask: np.ndarray, size: int) -> np.ndarray | None:
        """Lanes whose warps have all come to this instruction; the others are parked.  Warps of a warpgroup come again."""
        if size > 32:
            threads, live = mask.reshape(-1, size), (self.status == RUNS).reshape(-1, size)
            if (threads.any(1) & ~live.all(1)).any():
                raise PtxError(f"{self.kernel.name}: a warpgroup's instruction in divergent code")
            whole = threads.all(1).repeat(size)
            self.pc[mask & ~whole] = at
            return whole if whole.any() else None
        lanes, live = mask.reshape(-1, 32), (self.status != GONE).reshape(-1, 32)
        early = mask & ~(lanes == live).all(1).repeat(32)
        if early.any():
            self.pc[early], self.status[early] = at, PARKED
            mask = mask & ~early
            self.release()
        return mask if mask.any() else None

    def release(self) -> None:
        """Blocks whose threads have all arrived at a barrier, or gone, go on; so do warps whose lanes have all been parked at one
        instruction."""
        parked = (self.status == PARKED).reshape(-1, 32)
        if parked.any():
            live, at = (self.status != GONE).reshape(-1, 32), self.pc.reshape(-1, 32)
            low, high = np.where(parked, at, 1 << 40).min(1), np.where(parked, at, -1).max(1)
            met = ((parked == live).all(1) & parked.any(1) & (low == high)).repeat(32)
            self.status[met & (self.status == PARKED)] = RUNS
        status = self.status.reshape(-1, self.team)
        done = (status != RUNS).all(1) & (status == WAITS).any(1)
        if done.any():
            self.epoch[done] += 1
            self.identify()
            status[done] = np.where(status[done] == WAITS, RUNS, status[done])

    def identify(self) -> None:
        """key of a thread: block or cluster, barriers passed, warp; base: the least key of its block since the last barrier;
        mark: of lanes.py."""
        of = self.block_of // self.cluster
        base = (of + self.first // self.cluster) << 40 | self.epoch[of] << 12
        self.key, self.base = base | (self.warp_of % (self.team // 32)), base
        warp = self.warp_of + self.first * self.block // 32
        self.mark = marks(self.epoch[of] + self.met[self.warp_of], warp, self.lane.astype(np.int64))

    def meet(self, mask: Any) -> None:
        """These warps pass a barrier of their own."""
        self.met += 1 if mask is None else mask.reshape(-1, 32).any(1)
        self.identify()

    # ---- registers -----------------------------------------------------------------------------------------------
    def put(self, name: str, value: Any, mask: Any) -> None:
        if not name:
            return
        if mask is None:
            self.R[name] = value
            return
        old = self.R.get(name)
        if old is None:
            old = np.zeros(1, value.dtype)
        elif old.dtype != value.dtype:
            old = old.view(value.dtype) if old.dtype.itemsize == value.dtype.itemsize else old.astype(value.dtype)
        self.R[name] = np.where(mask, value, old)

    def whole(self, value: Any) -> np.ndarray:
        """A value as an array over all threads."""
        return value if np.ndim(value) else np.full(self.T, value)

    # ---- memory --------------------------------------------------------------------------------------------------
    def places(self, address: Any, space: str, mask: Any, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, str]:
        """(threads, memory, byte of each, which memory) for these addresses; checks bounds and alignment."""
        threads = np.arange(self.T) if mask is None else np.flatnonzero(mask)
        address = self.whole(address)[threads].astype(np.int64)
        if space == "generic":
            space = "global" if address.size and address[0] >= self.memory.base else "local" if address[0] >= 1 << 40 else "shared"
            address = address - ((1 << 40) if space == "local" else 0)
        if (address % width).any():
            raise PtxError(f"a misaligned address: {hex(int(address[np.argmax(address % width != 0)]))} for {width} bytes")
        if space == "global":
            return threads, self.memory.bytes, self.memory.check(address, width), space
        if space == "cluster":
            return threads, self.shared, self.remote(threads, address, width), "shared"
        size = self.shared_size if space == "shared" else self.local_size
        if (address < 0).any() or (address + width > size).any():
            raise PtxError(f"{space} memory of {size} bytes is left: byte {int(address.max())}")
        owner = self.block_of[threads] if space == "shared" else threads
        return threads, self.shared if space == "shared" else self.local, owner * size + address, space

    def remote(self, threads: np.ndarray, address: np.ndarray, width: int) -> np.ndarray:
        """Bytes of the shared memory of blocks of the same cluster, which must be there: the cluster has met before, and will meet
        again before a thread leaves."""
        here = np.unique(self.block_of[threads] // self.cluster)
        if (self.epoch[here] == 1).any():
            raise PtxError("shared memory of a block that may not have begun: the cluster has not met")
        self.visited[here] = self.epoch[here]
        self.check_visits(here)
        rank, byte = address // REMOTE - 1, address % REMOTE
        if (rank < 0).any() or (rank >= self.cluster).any() or (byte + width > self.shared_size).any():
            raise PtxError("an address of no block's shared memory in this cluster")
        block = self.block_of[threads] // self.cluster * self.cluster + rank
        if (self.status.reshape(self.blocks, -1)[block] == GONE).all(1).any():
            raise PtxError("shared memory of a block that is no more")
        return block * self.shared_size + byte

    def check_visits(self, clusters: np.ndarray) -> None:
        if (self.visited[clusters] == self.left[clusters])[self.left[clusters] > 0].any():
            raise PtxError("a block ends while others may reach its shared memory: the cluster has not met behind them")

    def load(self, address: Any, space: str, kind: Any, count: int, mask: Any) -> list[np.ndarray]:
        size = np.dtype(kind).itemsize
        threads, memory, at, space = self.places(address, space, mask, size * count)
        self.touched(space, at, size * count, threads, None, None)
        view, at = memory.view(kind), at // size
        if threads.size == self.T:
            return [view[at + n] for n in range(count)]
        found = []
        for n in range(count):
            value = np.zeros(self.T, kind)
            value[threads] = view[at + n]
            found.append(value)
        return found

    def store(self, address: Any, space: str, kind: Any, values: list[Any], mask: Any) -> None:
        size = np.dtype(kind).itemsize
        threads, memory, at, space = self.places(address, space, mask, size * len(values))
        view, base = memory.view(kind), at // size
        same = np.ones(threads.size, bool)
        values = [self.whole(v)[threads] for v in values]
        for n, value in enumerate(values):
            same &= view[base + n] == value
        self.touched(space, at, size * len(values), threads, same, view)
        for n, value in enumerate(values):
            view[base + n] = value

    def touched(self, space: str, at: np.ndarray, width: int, threads: np.ndarray, same: Any, view: Any,
                together: bool = False) -> None:  # fmt: skip
        """Looks for races.  same: which of the writers write what is there already; None for reads.  together: what is read is for
        all lanes of the warp."""
        if space == "local":
            return
        if self.products and space == "shared" and same is not None:
            for word in range(max(1, width // 4)):
                self.products.written((at >> 2) + word, threads)
        key, base, mark = self.key[threads], self.base[threads], self.mark[threads] | (TOGETHER if together else 0)
        if space == "global":
            self.memory.touched(at, width, key, base, same, mark)
            return
        flying = bool(self.open or self.waiting)
        for word in range(max(1, width // 4)):
            w = (at >> 2) + word
            if flying and self.flying[w].any():
                self.race(w, self.flying[w], "touched", "thread while a copy is on its way there,")
            last = self.last_write[w]
            conflict = (last >= base) & (last != key)
            last = self.last_read[w]
            others = (last >= base) & (last != key)
            if same is None:
                self.last_read[w] = np.where(others, base | MANY, key)
            else:
                self.last_write[w] = key
                conflict = (conflict | others | (self.last_write[w] != key)) & ~same  # the last: two warps in this instruction
            if conflict.any():
                self.race(w, conflict, "read" if same is None else "written")
            conflict = self.lanes.touched(w, mark, same)
            if conflict.any():
                self.race(w, conflict, "read" if same is None else "written", "lane")

    def race(self, words: np.ndarray, conflict: np.ndarray, what: str, who: str = "warp") -> None:
        where = int(words[np.argmax(conflict)]) * 4 % self.shared_size
        raise PtxError(f"a race: shared byte {where} is {what} by one {who} and was touched by another since the last barrier")
