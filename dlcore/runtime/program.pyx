# cython: language_level=3, cdivision=True, embedsignature=True
"""Program: an immutable list of kernel calls.  Instance: the same with addresses; running it touches no Python object.

Design.  A step's arrays are (buffer, offset), so one program serves many instances.  `bind` resolves every kernel and
address into one flat C array; `run` hands it to `execute.h` without the GIL.  What can be decided before is decided
before: shares, barriers and the number of members are in a `Plan` per set of segments, which all instances share.
Scalars live in the instance's block, at each call that reads them, and a slot knows its places.
"""
from types import MappingProxyType

from cpython.buffer cimport PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBuffer_Release, PyObject_GetBuffer
from libc.math cimport INFINITY
from libc.stdint cimport int64_t, uintptr_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from dlcore.errors import ShapeError, UsageError
from dlcore.runtime import debug, report
from dlcore.runtime.buffers import DTYPES, address_of, collect, debug_level, put_input
from dlcore.runtime.schedule import GAIN, START_NS, arrange, candidates, cost, share
from dlcore.runtime.threads import check_threads, default_threads, watch

cdef extern from "cpu.h" nogil:
    int cpu_reported()
    int cpu_probe(int level)

cdef extern from "execute.h" nogil:
    ctypedef union Scalar:
        float f32
        double f64
        int64_t i64
    ctypedef void (*Entry)(int64_t, int64_t, const int64_t*, void**, const Scalar*)
    ctypedef struct Call:
        Entry entry
        int64_t extent
        const int64_t* dims
        void** pointers
        const Scalar* scalars
    ctypedef struct Item:
        int64_t begin, end, call
    ctypedef struct Group:
        int first, last
        double ns
    ctypedef struct Schedule:
        int members
        Group* groups
        Item** items
        int** starts
    enum: SEGMENTS_MAX
    ctypedef struct Job:
        const Call* calls
        const Schedule* schedule
        int ranges
        int first[SEGMENTS_MAX]
        int last[SEGMENTS_MAX]
        int forced
        double ns
        int64_t* stamps
    ctypedef struct Team:
        unsigned generation
    Team team
    int team_setup()
    int64_t team_now()
    int run_job(Job* job)

if team_setup():
    raise MemoryError("pthread_atfork")

cdef dict ITEMSIZE = {name: dtype.itemsize for name, dtype in DTYPES.items()}
cdef frozenset INTEGERS = frozenset(("i8", "u8", "i32", "i64"))
cdef enum:
    INTEGER, SINGLE, DOUBLE         # how a scalar is held in its 8 bytes
cdef enum:
    LENT_BYTES = 16384              # of an input, from which on the caller's array is read where it lies
cdef double F32_MAX = 3.4028234663852886e38
cdef int limit_version = 0          # counts calls of set_threads: a default plan is older than it or not


def _limit_changed():
    global limit_version
    limit_version += 1


watch(_limit_changed)

SEGMENTS = ("prepare", "forward", "backward", "reduce", "update")
_LEVELS = ("", "v2", "v3", "v4", "v4_bf16", "aarch64")


def reported_level() -> str:
    """The highest CPU level that the processor and the operating system report; '' for none."""
    return _LEVELS[cpu_reported()]


def probe_level(level: str) -> bool:
    """Whether instructions of a level execute; tried under a handler for SIGILL."""
    return bool(cpu_probe(_LEVELS.index(level)))


cdef class Step:
    """One kernel call of a program, the same on every thread but for its share of `extent`.

    arrays   (buffer, byte offset, shape, dtype, written) in the order of the spec, None where absent
    scalars  numbers or slots, in the order of the spec
    add      per `+` output: 0 overwrites, 1 adds, 2 adds when the run accumulates
    group    steps of one group need nothing of each other; a new number means that all threads wait before it
    grid     cuts between threads are multiples of it
    """
    cdef readonly str kernel, dtypes, segment, label
    cdef readonly object spec
    cdef readonly int64_t extent, grid, flops
    cdef readonly tuple dims, arrays, scalars, add
    cdef readonly int group

    def __init__(self, str kernel, str dtypes, spec, int64_t extent, int64_t grid, tuple dims, tuple arrays, tuple scalars,
                 tuple add, str segment, int group, int64_t flops=0, str label=""):
        self.kernel, self.dtypes, self.spec, self.extent, self.grid = kernel, dtypes, spec, extent, grid
        self.dims, self.arrays, self.scalars, self.add = dims, arrays, scalars, add
        self.segment, self.group, self.flops, self.label = segment, group, flops, label or kernel

    @property
    def bytes(self) -> int:
        """Bytes of the arrays that the call reads or writes, without its scratch."""
        cdef int64_t total = 0, size
        for array, item in zip(self.arrays, self.spec.arrays):
            if array is not None and item.kind != "work":
                size = ITEMSIZE[array[3]]
                for n in <tuple>array[2]:
                    size *= <int64_t>n
                total += size
        return total

    def share(self, int part, int parts) -> tuple:
        """Items `begin, end` of one of `parts` parts."""
        return share(self.extent, self.grid, part, parts)

    def __repr__(self):
        return f"Step({self.label}: {self.kernel}[{self.dtypes}], {self.segment} {self.group})"


cdef class Plan:
    """How one set of segments runs on a number of members: shares and barriers, without any address."""
    cdef Schedule schedule
    cdef Job job
    cdef readonly object arrangement
    cdef readonly tuple segments

    def __init__(self, arrangement, tuple segments, bint forced):
        cdef int members = arrangement.members, m, n
        cdef Schedule* s = &self.schedule
        self.arrangement, self.segments = arrangement, segments
        s.members = members
        s.groups = <Group*>reserve(len(arrangement.groups), sizeof(Group))
        s.items = <Item**>reserve(members, sizeof(Item*))
        s.starts = <int**>reserve(members, sizeof(int*))
        for n, group in enumerate(arrangement.groups):
            s.groups[n].first, s.groups[n].last, s.groups[n].ns = group
        for m in range(members):
            items, starts = arrangement.items[m], arrangement.starts[m]
            s.items[m] = <Item*>reserve(len(items), sizeof(Item))
            s.starts[m] = <int*>reserve(len(starts), sizeof(int))
            for n, item in enumerate(items):
                s.items[m][n].call, s.items[m][n].begin, s.items[m][n].end = item
            for n, start in enumerate(starts):
                s.starts[m][n] = start
        self.job.schedule, self.job.forced, self.job.ranges = s, forced, len(segments)
        for n, segment in enumerate(segments):
            self.job.first[n], self.job.last[n] = arrangement.ranges[segment]
            self.job.ns += arrangement.serial_ns[segment]

    def __dealloc__(self):
        cdef int m
        for m in range(self.schedule.members):
            if self.schedule.items != NULL:
                free(self.schedule.items[m])
            if self.schedule.starts != NULL:
                free(self.schedule.starts[m])
        free(self.schedule.items)
        free(self.schedule.starts)
        free(self.schedule.groups)


cdef void* reserve(size_t count, size_t size) except NULL:
    cdef void* memory = calloc(count if count else 1, size)
    if memory == NULL:
        raise MemoryError
    return memory


cdef class SlotInfo:
    """A scalar that the host sets: its type, its range, and where the program reads it."""
    cdef readonly str name, dtype
    cdef readonly object low, high
    cdef readonly list places           # (step, index among its scalars)
    cdef readonly set segments
    cdef int index

    def __init__(self, str name, str dtype, int index):
        self.name, self.dtype, self.low, self.high, self.index = name, dtype, None, None, index
        self.places, self.segments = [], set()

    cdef narrow(self, low, high):
        if low is not None and (self.low is None or low > self.low):
            self.low = low
        if high is not None and (self.high is None or high < self.high):
            self.high = high

    def fits(self, value) -> bool:
        return (self.low is None or value >= self.low) and (self.high is None or value <= self.high)

    def range(self) -> str:
        low = "" if self.low is None else f" from {self.low}"
        high = "" if self.high is None else f" to {self.high}"
        return ("a whole number" if self.dtype == "i64" else "a finite number") + low + high

    def checked(self, value):
        """The value as int or float; raises UsageError naming slot, range and value."""
        return self.check(value)

    cdef check(self, value):
        """The value as int or float; raises UsageError naming slot, range and value."""
        try:
            if self.dtype == "i64":
                number = value.__index__()
                good = -(1 << 63) <= number < 1 << 63
            else:
                number = float(value)
                good = -F32_MAX <= number <= F32_MAX
        except (AttributeError, TypeError, ValueError, OverflowError):
            number, good = value, False
        if not good or not self.fits(number):
            raise UsageError(f"bad value for the slot {self.name}", where=f"run({self.name}=...)", expected=self.range(),
                             got=repr(value))
        return number


cdef class Program:
    """An immutable plan: steps in order, bytes of each buffer, where outputs and leaves lie.

    sizes    buffer -> bytes        outputs, leaves   name -> (buffer, byte offset, shape, dtype)
    bound    the largest sum of bytes alive at any moment        total   what the arena would be without reuse
    wide     f32 is held and computed as f64 (tests)             planning   seconds of each phase of the planner
    """
    cdef readonly tuple steps, segments
    cdef readonly object sizes, outputs, leaves, slots, planning
    cdef readonly bint wide
    cdef readonly int64_t bound, total
    cdef dict _plans, _arrangements
    cdef object _costs

    def __init__(self, steps, dict sizes, dict outputs, dict leaves, bint wide=False, int64_t bound=0, int64_t total=0,
                 planning=None):
        self.steps, self.wide, self.bound, self.total = tuple(steps), wide, bound, total
        self.sizes, self.outputs, self.leaves = MappingProxyType(sizes), MappingProxyType(outputs), MappingProxyType(leaves)
        self.planning = MappingProxyType(dict(planning or {}))
        self.segments, self.slots = self._segments(), MappingProxyType(self._slots())
        self._plans, self._arrangements, self._costs = {}, {}, None

    def _segments(self) -> tuple:
        cdef Step step
        names = []
        for step in self.steps:
            if not names or names[-1] != step.segment:
                names.append(step.segment)
        if len(set(names)) != len(names) or not set(names) <= set(SEGMENTS):
            raise ValueError(f"steps must lie together by segment, and segments are {SEGMENTS}; got {names}")
        return tuple(names)

    def _slots(self) -> dict:
        cdef Step step
        cdef SlotInfo info
        cdef int n, i
        slots = {}
        for n, step in enumerate(self.steps):
            for i, scalar in enumerate(step.scalars):
                if isinstance(scalar, (int, float)) or not hasattr(scalar, "low"):
                    continue
                info = slots.get(scalar.name)
                if info is None:
                    info = slots[scalar.name] = SlotInfo(scalar.name, scalar.dtype, len(slots))
                kind = "i64" if step.spec.scalars[i].dtype in INTEGERS else "f32"
                if scalar.dtype != info.dtype or kind != info.dtype:
                    raise UsageError(f"the slot {scalar.name} is read as two types", where=step.label,
                                     expected=info.dtype, got=scalar.dtype if scalar.dtype != info.dtype else kind)
                info.narrow(scalar.low, scalar.high)
                info.places.append((n, i))
                info.segments.add(step.segment)
        return slots

    @property
    def arena(self) -> int:
        """Bytes of the memory that activations and gradients share."""
        return self.sizes.get("arena", 0)

    def bind(self, buffers=None, table=None):
        """An instance on these buffers (name -> array); those not given are made, filled with zeros.

        `prepared` (packed weights) is computed from the weights as they are now; given, it is only read: instances
        share it, and whoever changes the weights binds anew without it.  `table`: other kernels than the installed.
        Raises DataError for a data set that is missing, ShapeError for a buffer that is too small, misaligned,
        scattered, or read-only though it is written.
        """
        if self.planning.get("device") == "cuda":
            from dlcore.runtime.device import bind_cuda
            instance = bind_cuda(self, buffers or {})
        else:
            instance = Instance(self, buffers or {}, table)
        if "prepare" in self.segments and "prepared" not in (buffers or {}):
            instance.run("prepare")
        return instance

    def costs(self) -> list:
        """Expected nanoseconds of each step on one thread."""
        if self._costs is None:
            from dlcore.runtime.table import cpu_level      # it needs this module's probe
            level = cpu_level()
            self._costs = [cost(step, level) for step in self.steps]
        return self._costs

    def arrangement(self, int members, bint forced=False, bint single=False):
        """How so many members share the steps (`schedule.Arrangement`)."""
        key = (members, forced, single)
        found = self._arrangements.get(key)
        if found is None:
            found = self._arrangements[key] = arrange(self.steps, self.costs(), members, forced, single)
        return found

    def plan(self, tuple segments, threads=None) -> Plan:
        """The plan of a run: on exactly `threads` members, or on as many as pay, at most `default_threads()`."""
        most = default_threads() if threads is None else threads
        key = (segments, most, threads is None)
        found = self._plans.get(key)
        if found is None:
            unknown = [s for s in segments if s not in self.segments]
            if unknown:
                raise UsageError(f"this program has no segment {unknown[0]}", expected=", ".join(self.segments),
                                 got=", ".join(segments))
            chosen = self._pay(segments, most) if threads is None else self.arrangement(most, True)
            found = self._plans[key] = Plan(chosen, segments, threads is not None)
        return found

    def _pay(self, tuple segments, int most):
        """The arrangement that is expected to be fastest; one thread unless more gain clearly."""
        best = self.arrangement(1)
        least = GAIN * sum(best.expected_ns[s] for s in segments) - START_NS
        for members in candidates(most) if least > 0 else ():
            other = self.arrangement(members)
            expected = sum(other.expected_ns[s] for s in segments)
            if expected < least:
                best, least = other, expected
        return best

    def timed_plan(self, tuple segments, int members) -> Plan:
        """A plan with a barrier before every step, so that each can be timed."""
        return Plan(self.arrangement(members, members > 1, True), segments, True)

    def default_segments(self) -> tuple:
        return tuple([s for s in self.segments if s != "prepare"])

    def table(self) -> list:
        """A row per step: call, kernel, shapes, bytes, flops, segment, group, threads."""
        return report.table(self)

    def describe(self) -> dict:
        """Calls, groups, barriers, threads, arena, bound, slots: the summary that `dlcore profile` prints."""
        return report.describe(self)


cdef struct Input:
    char* address
    int64_t size
    char kind                           # of the buffer protocol's format
    int rank
    int64_t shape[8]
    int first, last                     # the pointers that reach into it, in _reaching
    bint lendable, lent                 # a caller's array can be, is, read where it lies
    Py_buffer view                      # of that array


cdef class Instance:
    """A program with addresses.  One thread at a time may run it; other instances of the program run beside it.

    `instance[name]` is a view of an output or leaf; writing into an input's view before `run` is as good as passing an
    array to `call`.  Slots keep their last value; before the first they are 0, and `loss_scale` is 1.
    `busy_ns`: nanoseconds that runs have spent in kernels.
    """
    cdef readonly Program program
    cdef readonly object buffers
    cdef readonly int64_t busy_ns       # spent in kernels, by all runs so far
    cdef Call* _calls
    cdef int64_t* _words
    cdef Scalar** _places               # of all slots, one slot after the other, then those of the accumulate bit
    cdef char* _kinds                   # of each place: how the kernel reads it
    cdef int* _first                    # of each slot in _places
    cdef Input* _inputs
    cdef void*** _reaching              # pointers of calls into inputs, one input after the other
    cdef bint _calling
    cdef list _values, _input_names
    cdef dict _views
    cdef set _unset
    cdef tuple _copies
    cdef object _status
    cdef Plan _default
    cdef int _version, _accumulating, _debug
    cdef unsigned _running

    def __init__(self, Program program, buffers, table=None):
        self.program, self._debug = program, debug_level()
        self._views, self._version, self._running = {}, -1, 0
        self.buffers = MappingProxyType(collect(program, buffers))
        self._resolve(table if table is not None else find_table(program.wide))
        self._place_slots()
        self._place_inputs()
        self._copies = tuple([self[name].copy for name in program.outputs])
        self._status = memoryview(self["status"]) if "status" in program.leaves else None

    def __dealloc__(self):
        free(self._calls)
        free(self._words)
        free(self._places)
        free(self._kinds)
        free(self._first)
        free(self._inputs)
        free(self._reaching)

    # ---- binding -------------------------------------------------------------------------------------------------
    cdef _resolve(self, table):
        """Entries, sizes, addresses and constants of every step, in one block each."""
        cdef Step step
        cdef Call* call
        cdef int64_t* word
        cdef int n
        cdef size_t words = 0
        for step in self.program.steps:
            words += len(step.dims) + len(step.arrays) + len(step.scalars) + len(step.add)
        self._calls = <Call*>reserve(len(self.program.steps), sizeof(Call))
        self._words = word = <int64_t*>reserve(words, sizeof(int64_t))
        base = {name: address_of(array) for name, array in self.buffers.items()}
        for n, step in enumerate(self.program.steps):
            check_step(step)
            call = &self._calls[n]
            call.entry = <Entry><uintptr_t>table.entry(step.kernel, step.dtypes)
            call.extent, call.dims = step.extent, word
            for size in step.dims:
                word[0] = size
                word += 1
            call.pointers = <void**>word
            for array in step.arrays:
                word[0] = 0 if array is None else self._address(step, array, base)
                word += 1
            call.scalars = <Scalar*>word
            for i, scalar in enumerate(step.scalars):
                if isinstance(scalar, (int, float)) or not hasattr(scalar, "low"):
                    self._write(<Scalar*>word, self._kind(step, i), scalar)
                word += 1
            for bit in step.add:
                word[0] = bit == 1
                word += 1

    cdef int64_t _address(self, Step step, tuple array, dict base) except -1:
        """Checks that an array lies inside its buffer, aligned to its elements, and may be written if it is."""
        buffer, offset, shape, dtype, written = array
        cdef int64_t size = ITEMSIZE[dtype], item = ITEMSIZE[dtype], address
        for n in <tuple>shape:
            size *= <int64_t>n
        where = f"{step.label}: {buffer} at {offset}"
        if buffer not in base:
            raise UsageError(f"the program has no size for the buffer {buffer}", where=where)
        memory = self.buffers[buffer]
        if offset < 0 or offset + size > memory.nbytes:
            raise ShapeError("an array reaches beyond its buffer", where=where, expected=f"at most {memory.nbytes} bytes",
                             got=f"{dtype}{list(shape)} to byte {offset + size}")
        address = base[buffer] + offset
        if size and address % item:
            raise ShapeError("an array is not aligned to its elements", where=where, expected=f"a multiple of {item}",
                             got=hex(address))
        if written and not memory.flags.writeable:
            raise ShapeError(f"the buffer {buffer} is read-only, but this program writes it", where=step.label)
        return address

    cdef char _kind(self, Step step, int i) except -1:
        """How a scalar of a step is held; the bits of `+` outputs follow its scalars."""
        dtype = step.spec.scalars[i].dtype if i < len(step.scalars) else "i64"
        return INTEGER if dtype in INTEGERS else DOUBLE if self.program.wide or dtype == "f64" else SINGLE

    cdef void _write(self, Scalar* place, char kind, value) except *:
        if kind == INTEGER:
            place.i64 = value
        elif kind == DOUBLE:
            place.f64 = value
        else:
            place.i64 = 0
            place.f32 = value

    cdef _place_slots(self):
        cdef SlotInfo info
        cdef Step step
        cdef int n, i, at = 0
        places = []
        self._first = <int*>reserve(len(self.program.slots) + 2, sizeof(int))
        for info in self.program.slots.values():
            self._first[info.index] = len(places)
            places += info.places
        self._first[len(self.program.slots)] = len(places)
        for n, step in enumerate(self.program.steps):
            places += [(n, len(step.scalars) + i) for i, bit in enumerate(step.add) if bit == 2]
        self._first[len(self.program.slots) + 1] = len(places)
        self._places = <Scalar**>reserve(len(places), sizeof(Scalar*))
        self._kinds = <char*>reserve(len(places), 1)
        for n, i in places:
            self._places[at] = <Scalar*>&self._calls[n].scalars[i]
            self._kinds[at] = self._kind(self.program.steps[n], i)
            at += 1
        self._values, self._unset, self._accumulating = [], set(), 0
        for info in self.program.slots.values():
            value = 1 if info.name == "loss_scale" else 0
            self._values.append(value)
            self._store(info, value)
            if not info.fits(value):
                self._unset.add(info.name)

    cdef _store(self, SlotInfo info, value):
        cdef int n
        for n in range(self._first[info.index], self._first[info.index + 1]):
            self._write(self._places[n], self._kinds[n], value)
        self._values[info.index] = value

    cdef _place_inputs(self):
        cdef Input* place
        cdef int n, i
        self._input_names = [name for name, leaf in self.program.leaves.items() if leaf[0] == "inputs"]
        self._inputs = <Input*>reserve(len(self._input_names), sizeof(Input))
        for n, name in enumerate(self._input_names):
            place, view = &self._inputs[n], self[name]
            place.address, place.size = <char*><uintptr_t>address_of(view), view.nbytes
            place.kind, place.rank = <char>ord(view.dtype.char), view.ndim
            if view.ndim > 8:
                raise ShapeError("an input has more than 8 axes", where=name, got=str(view.shape))
            for i in range(view.ndim):
                place.shape[i] = view.shape[i]
        self._find_reaching()

    cdef _find_reaching(self):
        """The pointers to change when a caller's array is read where it lies: all that point into an input.  It must only
        be read for that, and by no output."""
        cdef Input* place
        cdef Step step
        cdef int n, m, i, at = 0
        arrays = [(m, i, array) for m, step in enumerate(self.program.steps) for i, array in enumerate(step.arrays)
                  if array is not None and array[0] == "inputs"]
        shown = [where[1] for where in self.program.outputs.values() if where[0] == "inputs"]
        self._reaching = <void***>reserve(len(arrays), sizeof(void**))
        for n, name in enumerate(self._input_names):
            place = &self._inputs[n]
            start = self.program.leaves[name][1]
            mine = [found for found in arrays if start <= found[2][1] < start + place.size]
            place.first, place.last = at, at + <int>len(mine)
            place.lendable = (place.size >= LENT_BYTES and not any(found[2][4] for found in mine)
                              and not any(start <= offset < start + place.size for offset in shown))
            for m, i, _ in mine:
                self._reaching[at] = &self._calls[m].pointers[i]
                at += 1

    # ---- looking -------------------------------------------------------------------------------------------------
    def __getitem__(self, str name):
        """A view of an output or leaf; KeyError for another name."""
        view = self._views.get(name)
        if view is None:
            where = self.program.outputs.get(name) or self.program.leaves.get(name)
            if where is None:
                raise KeyError(f"{name!r}; outputs: {', '.join(self.program.outputs)}; "
                               f"leaves: {', '.join(self.program.leaves)}")
            view = self._views[name] = self._view(*where)
        return view

    def _view(self, buffer, offset, shape, dtype):
        size = ITEMSIZE[dtype]
        for n in shape:
            size *= n
        return self.buffers[buffer][offset:offset + size].view(DTYPES[dtype]).reshape(shape)

    def array(self, int step, int n):
        """A view of array `n` of a step, None where it is absent."""
        where = (<Step>self.program.steps[step]).arrays[n]
        return None if where is None else self._view(*where[:4])

    def gradient(self, str name):
        """A view of the gradient of a weight: in the buffer `gradients`, at the weight's offset."""
        if "gradients" not in self.buffers:
            raise UsageError("this program computes no gradients of weights", where=name)
        _, offset, shape, dtype = self.program.leaves[name]
        return self._view("gradients", offset, shape, dtype)

    @property
    def slots(self) -> dict:
        """The values that the slots have now."""
        return dict(zip(self.program.slots, self._values, strict=True))

    @property
    def status(self) -> int:
        """What `check_finite` found: 0 while all is well.  The host clears it by setting 0."""
        return int(self["status"][0]) if "status" in self.program.leaves else 0

    @status.setter
    def status(self, int value):
        self["status"][0] = value

    # ---- running -------------------------------------------------------------------------------------------------
    def run(self, *segments, bint accumulate=False, threads=None, **slots):
        """Runs segments (by default all that the program has but `prepare`), without the GIL.

        accumulate  gradients of weights are added to those that are there (micro-batches)
        threads     so many, exactly; by default as many as pay, at most `default_threads()`
        slots       scalars by name; those not given keep their value

        Raises UsageError for an unknown segment or slot, a value out of range, or an instance that is running.
        """
        if slots:
            self._set_slots(slots)
        plan = self._plan(segments, threads)
        if self._unset:
            self._check_unset(plan.segments)
        self._set_accumulate(accumulate)
        if self._debug:
            debug.run(self, plan, accumulate, self._debug)
        else:
            self._execute(plan)

    def call(self, tuple inputs, **slots) -> tuple:
        """Runs on `inputs` (in the order of the graph's inputs); returns copies of the outputs in order.

        Large arrays of the right dtype and order are read where they lie, others are copied in, and converted where
        nothing is lost but precision.  Raises ShapeError naming the input."""
        cdef int n
        if slots:
            self._set_slots(slots)
        if len(inputs) != len(self._input_names):
            raise ShapeError("wrong number of inputs", expected=f"{len(self._input_names)}: {', '.join(self._input_names)}",
                             got=str(len(inputs)))
        if self._calling:
            raise busy()
        watched = self._debug or self._unset or self._accumulating
        self._calling = True
        try:
            for n in range(len(inputs)):
                self._put(n, inputs[n], not watched)
            if watched:
                self.run()
            else:
                self._execute(self._plan((), None))
        finally:
            for n in range(len(inputs)):
                self._give_back(n)
            self._calling = False
        return tuple([copy() for copy in self._copies])

    cdef Plan _plan(self, tuple segments, threads):
        if not segments and threads is None:
            if self._version != limit_version:
                self._default, self._version = self.program.plan(self.program.default_segments()), limit_version
            return self._default
        if threads is not None:
            threads = check_threads(threads, "run(threads=...)")
        return self.program.plan(segments or self.program.default_segments(), threads)

    cdef int _execute(self, Plan plan, int64_t* stamps=NULL) except -1:
        cdef Job job = plan.job
        cdef int members
        cdef int64_t began
        cdef unsigned mine = team.generation + 1        # a run that a fork interrupted does not count in the child
        if self._running == mine:
            raise busy()
        self._running = mine
        job.calls, job.stamps = self._calls, stamps
        with nogil:
            began = team_now()
            members = run_job(&job)
            self.busy_ns += team_now() - began
        self._running = 0
        return members

    def execute(self, Plan plan) -> int:
        """Runs a plan as it stands; returns how many threads worked."""
        return self._execute(plan)

    def run_rows(self, order, int64_t begin, rates, int64_t step, totals) -> int:
        """Runs a training step for each of `rates` (f64[N], slot `lr`) with nothing of Python between them.

        order   i32[...]: the input `rows` of the steps one after the other, from `begin` on
        step    slot `step` of the first, where the program has it
        totals  f64[width]: the output `sums` of every step is added
        Returns how many steps went well: after N, or before the first whose `status` is not 0, which is run and not counted.
        """
        cdef SlotInfo lr = self.program.slots["lr"], number = self.program.slots.get("step")
        cdef int lr_slot = lr.index, step_slot = -1 if number is None else number.index
        cdef Plan plan = self._plan((), None)
        cdef Job job = plan.job
        cdef const char* rows = <const char*><uintptr_t>address_of(order)
        cdef double* rate = <double*><uintptr_t>address_of(rates)
        cdef double* total = <double*><uintptr_t>address_of(totals)
        taken, sums, status = self["rows"], self["sums"], self["status"]
        cdef char* into = <char*><uintptr_t>address_of(taken)
        cdef float* reported = <float*><uintptr_t>address_of(sums)
        cdef int64_t* word = <int64_t*><uintptr_t>address_of(status)
        cdef int64_t size = taken.nbytes, count = len(rates), done = 0, began
        cdef int i, width = len(sums)
        cdef double least = INFINITY, most = -INFINITY         # of the rates so far
        cdef unsigned mine = team.generation + 1
        if not (order.dtype == taken.dtype and rates.dtype == totals.dtype == DTYPES["f64"] and len(totals) == width
                and 0 <= begin and begin * order.itemsize + count * size <= order.nbytes):
            raise ShapeError("rows, rates and totals do not fit the program", expected=f"{count} times {len(taken)} rows")
        for i in range(count):
            if rate[i] < least or rate[i] > most or rate[i] != rate[i]:
                lr.check(rate[i])
                least, most = min(least, rate[i]), max(most, rate[i])
        if self._debug or self._accumulating:
            raise UsageError("steps cannot be joined where they are watched or accumulated")
        self._unset.difference_update(("lr", "step"))
        if self._unset:
            self._check_unset(plan.segments)
        if self._running == mine:
            raise UsageError("this instance is running in another thread", hint="bind one instance per thread")
        self._running, job.calls, job.stamps = mine, self._calls, NULL
        rows += begin * 4
        with nogil:
            while done < count:
                memcpy(into, rows + done * size, size)
                self._place(lr_slot, rate[done], 0)
                if step_slot >= 0:
                    self._place(step_slot, 0, step + done)
                began = team_now()
                run_job(&job)
                self.busy_ns += team_now() - began
                if word[0] != 0:
                    break
                for i in range(width):
                    total[i] += reported[i]
                done += 1
        self._running = 0
        self._values[lr_slot] = float(rates[min(done, count - 1)])
        if step_slot >= 0:
            self._values[step_slot] = step + min(done, count - 1)
        return done

    cdef void _place(self, int slot, double real, int64_t whole) noexcept nogil:
        """Writes a slot, whose value is the first or the second as its places are."""
        cdef int n
        for n in range(self._first[slot], self._first[slot + 1]):
            if self._kinds[n] == INTEGER:
                self._places[n].i64 = whole
            elif self._kinds[n] == DOUBLE:
                self._places[n].f64 = real
            else:
                self._places[n].i64 = 0
                self._places[n].f32 = <float>real

    def run_step(self, int n) -> None:
        """Runs one step by itself, on this thread."""
        cdef Call* call = &self._calls[n]
        if call.extent > 0:
            with nogil:
                call.entry(0, call.extent, call.dims, call.pointers, call.scalars)

    cdef _set_slots(self, dict slots):
        """All are checked before one is written."""
        cdef SlotInfo info
        known = self.program.slots
        checked = []
        for name, value in slots.items():
            info = known.get(name)
            if info is None:
                raise UsageError(f"this program has no slot {name}", expected=", ".join(known) or "no slots",
                                 got=f"{name}={value!r}")
            checked.append((info, info.check(value)))
        for info, value in checked:
            self._store(info, value)
            self._unset.discard(info.name)

    cdef _check_unset(self, tuple segments):
        cdef SlotInfo info
        for name in sorted(self._unset):
            info = self.program.slots[name]
            if not info.segments.isdisjoint(segments):
                raise UsageError(f"the slot {name} was never given", where=f"run({name}=...)", expected=info.range())

    cdef _set_accumulate(self, bint accumulate):
        cdef int n, slots
        if accumulate != self._accumulating:
            slots = len(self.program.slots)
            for n in range(self._first[slots], self._first[slots + 1]):
                self._places[n].i64 = accumulate
            self._accumulating = accumulate

    cdef int _put(self, int n, value, bint lend) except -1:
        """Input `n`: read where it lies, or one copy, where dtype, shape and order are right, else through NumPy."""
        cdef Input* place = &self._inputs[n]
        cdef Py_buffer* view = &place.view
        cdef bint same
        cdef int i
        try:
            PyObject_GetBuffer(value, view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT)
        except (BufferError, TypeError, ValueError):
            return self._convert(n, value)
        same = view.format != NULL and view.format[0] == place.kind and view.format[1] == 0 and view.ndim == place.rank
        if same:
            for i in range(place.rank):
                same = same and view.shape[i] == place.shape[i]
        if same and lend and place.lendable and <uintptr_t>view.buf % view.itemsize == 0:
            self._reach(place, <char*>view.buf - place.address)
            place.lent = True
            return 0
        if same and view.buf != place.address:
            memcpy(place.address, view.buf, place.size)
        PyBuffer_Release(view)
        return 0 if same else self._convert(n, value)

    cdef void _reach(self, Input* place, int64_t distance) noexcept:
        """Moves the pointers into an input by so many bytes."""
        cdef int i
        for i in range(place.first, place.last):
            self._reaching[i][0] = <char*>self._reaching[i][0] + distance

    cdef int _give_back(self, int n) except -1:
        """The caller's array is read no more.  If the step has failed, a copy stays for `first_bad_step`."""
        cdef Input* place = &self._inputs[n]
        if place.lent:
            self._reach(place, place.address - <char*>place.view.buf)
            place.lent = False
            if self._status is not None and self._status[0]:
                memcpy(place.address, place.view.buf, place.size)
            PyBuffer_Release(&place.view)
        return 0

    cdef int _convert(self, int n, value) except -1:
        put_input(self._input_names[n], self[self._input_names[n]], value)
        return 0

    # ---- measuring and looking for faults ------------------------------------------------------------------------
    def time(self, int repeats=20, int threads=1) -> list:
        """Seconds of each step, the median of `repeats` runs on exactly `threads` threads with a barrier before every
        step.  What the runs write (weights, state, ...) is put back."""
        return debug.time_steps(self, repeats, threads)

    def stamp(self, Plan plan) -> list:
        """Runs a timed plan; returns the ns at which each of its steps began, and the end."""
        cdef int64_t* stamps = <int64_t*>reserve(len(self.program.steps) + 1, sizeof(int64_t))
        cdef int n, count = 0
        for n in range(plan.job.ranges):
            count += plan.job.last[n] - plan.job.first[n]
        try:
            self._execute(plan, stamps)
            end = team_now()
            return [stamps[n] for n in range(count)] + [end]
        finally:
            free(stamps)

    def first_bad_step(self):
        """Replays forward and backward step by step on what the buffers hold now, and returns the first `BadStep`, whose
        float output has a NaN or infinity; None if all are finite.  Everything but the arena is left as it was."""
        return debug.first_bad_step(self)


cdef busy():
    return UsageError("this instance is running in another thread", hint="bind one instance per thread")


cdef find_table(bint wide):
    from dlcore.runtime.table import kernel_table
    return kernel_table(wide)


def check_step(Step step):
    """The step's tuples must fit its spec: the kernel would read whatever lies behind them."""
    spec = step.spec
    for name, got, want in (("arrays", len(step.arrays), len(spec.arrays)), ("scalars", len(step.scalars), len(spec.scalars)),
                            ("add", len(step.add), len([i for i in spec.outputs if i.kind == "add"]))):
        if got != want:
            raise ValueError(f"{step.label}: {got} {name}, the spec of {step.kernel} has {want}")
    for array, item in zip(step.arrays, spec.arrays):
        if array is None and not item.optional:
            raise ValueError(f"{step.label}: {step.kernel} needs {item.name}")
