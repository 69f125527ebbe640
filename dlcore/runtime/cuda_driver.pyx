# cython: language_level=3, cdivision=True, embedsignature=True
"""The NVIDIA driver: what it is, memory of the GPU and pinned memory, kernels, and lists of copies and launches replayed as one graph.

libcuda is opened by name when the first GPU is asked for; nothing of NVIDIA is needed to build, import or install.  A driver's error
becomes a DeviceError that says what was tried and how to mend it.
"""
import os

cimport cython
from libc.stdint cimport int64_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from dlcore.errors import DeviceError

cdef extern from "cuda_driver.h" nogil:
    ctypedef void* CudaHandle
    ctypedef struct LaunchShape:
        unsigned blocks[3]
        unsigned block[3]
        unsigned shared
    ctypedef struct Cuda:
        int (*init)(unsigned) noexcept nogil
        int (*driver_version)(int*) noexcept nogil
        int (*device_count)(int*) noexcept nogil
        int (*device_get)(int*, int) noexcept nogil
        int (*device_name)(char*, int, int) noexcept nogil
        int (*device_memory)(size_t*, int) noexcept nogil
        int (*device_attribute)(int*, int, int) noexcept nogil
        int (*context_retain)(CudaHandle*, int) noexcept nogil
        int (*context_set)(CudaHandle) noexcept nogil
        int (*memory_info)(size_t*, size_t*) noexcept nogil
        int (*pool_default)(CudaHandle*, int) noexcept nogil
        int (*pool_set)(CudaHandle, int, void*) noexcept nogil
        int (*pool_trim)(CudaHandle, size_t) noexcept nogil
        int (*alloc_async)(uint64_t*, size_t, CudaHandle) noexcept nogil
        int (*free_async)(uint64_t, CudaHandle) noexcept nogil
        int (*alloc_device)(uint64_t*, size_t) noexcept nogil
        int (*alloc_host)(void**, size_t, unsigned) noexcept nogil
        int (*free_device)(uint64_t) noexcept nogil
        int (*free_host)(void*) noexcept nogil
        int (*copy_in)(uint64_t, const void*, size_t, CudaHandle) noexcept nogil
        int (*copy_out)(void*, uint64_t, size_t, CudaHandle) noexcept nogil
        int (*fill)(uint64_t, unsigned char, size_t, CudaHandle) noexcept nogil
        int (*event_create)(CudaHandle*, unsigned) noexcept nogil
        int (*event_record)(CudaHandle, CudaHandle) noexcept nogil
        int (*event_mark)(CudaHandle, CudaHandle, unsigned) noexcept nogil
        int (*event_span)(float*, CudaHandle, CudaHandle) noexcept nogil
        int (*event_wait)(CudaHandle) noexcept nogil
        int (*event_free)(CudaHandle) noexcept nogil
        int (*stream_follow)(CudaHandle, CudaHandle, unsigned) noexcept nogil
        int (*module_load)(CudaHandle*, const void*) noexcept nogil
        int (*module_function)(CudaHandle*, CudaHandle, const char*) noexcept nogil
        int (*function_set)(CudaHandle, int, int) noexcept nogil
        int (*most_clusters)(int*, CudaHandle, const LaunchShape*) noexcept nogil
        int (*stream_create)(CudaHandle*, unsigned) noexcept nogil
        int (*stream_wait)(CudaHandle) noexcept nogil
        int (*launch)(CudaHandle, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, CudaHandle, void**, void**) noexcept nogil
        int (*capture_begin)(CudaHandle, int) noexcept nogil
        int (*capture_end)(CudaHandle, CudaHandle*) noexcept nogil
        int (*graph_make)(CudaHandle*, CudaHandle, unsigned long long) noexcept nogil
        int (*graph_launch)(CudaHandle, CudaHandle) noexcept nogil
        int (*graph_free)(CudaHandle) noexcept nogil
        int (*executable_free)(CudaHandle) noexcept nogil
        int (*error_name)(int, const char**) noexcept nogil
        int (*error_text)(int, const char**) noexcept nogil
    const char* cuda_load(Cuda*, const char*)

LIBRARY = "libcuda.so.1"
LEAST_VERSION = 13000               # of the driver: kernels are compiled by CUDA 13.0
LEAST_CAPABILITY = (8, 0)
cdef enum:
    MAJOR = 75                      # attributes of a device: its compute capability
    MINOR = 76
    POOLS = 115                     # whether it has memory pools, which allocate in the order of a stream
    MOST_SHARED = 8                 # attribute of a function: bytes of shared memory that a launch may add to what it declares
    RELEASE_THRESHOLD = 4           # attribute of a pool: bytes of free memory that it keeps
    PORTABLE = 1                    # pinned memory is pinned for all devices
    NO_TIMING = 2                   # of an event
    EXTERNAL = 1                    # a record that becomes a node of the graph that is recorded
    NON_BLOCKING = 1
    RELAXED = 2                     # what other threads do meanwhile does not break a capture
    OUT_OF_MEMORY = 2
AGAIN = ("the process must be started again; with DLCORE_CUDA_SINGLY=1 it says which kernel it is.  Please report it with the model"
         " and the batch")
ADVICE = {
    2: "the GPU's memory is full: a smaller batch, or end what else uses the GPU (nvidia-smi lists it)",
    46: "the GPU is in use exclusively by another process, or prohibited: nvidia-smi shows who and how",
    100: "no GPU can be seen: check nvidia-smi and CUDA_VISIBLE_DEVICES",
    101: "there is no GPU of that number: nvidia-smi lists them",
    209: "the kernels are for other GPUs: build dlcore with the CUDA tools for this one",
    222: "the driver is older than the kernels: install a newer one",
    700: f"a kernel left its memory; {AGAIN}",
    **{code: f"a kernel failed; {AGAIN}" for code in (702, 714, 715, 716, 717, 718, 719)},
    912: "the GPU has no room for a cluster of blocks of this kernel: set DLCORE_CUDA_COMMON to its name, or to '*'",
    803: "the driver's library and its kernel module differ: restart the machine, or the driver",
    804: "the forward-compatibility driver does not support this GPU: use the driver of the GPU's system",
}


cdef class Driver:
    """The library, open, and its devices."""
    cdef Cuda cuda
    cdef readonly int version
    cdef readonly str path

    def __init__(self, str path=""):
        cdef const char* missing
        self.path = path or os.environ.get("DLCORE_CUDA_DRIVER") or LIBRARY
        encoded = self.path.encode()
        missing = cuda_load(&self.cuda, encoded)
        if missing != NULL:
            name = missing.decode()
            if name == self.path:
                raise DeviceError("there is no NVIDIA driver", where=name, hint="install NVIDIA's driver, version 580 or newer; "
                                  "in a container, run it with the GPU (docker run --gpus all)")
            raise DeviceError("the NVIDIA driver is too old", where=self.path, expected=f"one that has {name}", got="one without",
                              hint="install version 580 or newer")
        self.check(self.cuda.driver_version(&self.version), "asking for the driver's version")
        if self.version < LEAST_VERSION:
            raise DeviceError("the NVIDIA driver is too old", where=self.path, expected=f"CUDA {words(LEAST_VERSION)} (driver 580)",
                              got=f"CUDA {words(self.version)}", hint="install a newer driver; CUDA itself need not be installed")
        self.check(self.cuda.init(0), "starting the driver")

    cdef int check(self, int code, what) except -1:
        """DeviceError for every code but 0."""
        cdef const char* name = NULL
        cdef const char* text = NULL
        if code == 0:
            return 0
        if self.cuda.error_name(code, &name) == 0 and self.cuda.error_text(code, &text) == 0 and name != NULL and text != NULL:
            said = f"{name.decode()}: {text.decode()}"
        else:
            said = f"error {code}"
        raise DeviceError(f"the GPU failed at {what}", got=said, hint=ADVICE.get(code, "nvidia-smi shows the state of the GPU"))

    def count(self) -> int:
        cdef int found = 0
        self.check(self.cuda.device_count(&found), "counting devices")
        return found

    def describe(self, int ordinal) -> dict:
        """name, capability (major, minor) and bytes of memory of a device.  DeviceError where it is not there."""
        cdef int device = 0, major = 0, minor = 0
        cdef size_t memory = 0
        cdef char name[128]
        if not 0 <= ordinal < self.count():
            raise DeviceError(f"there is no GPU {ordinal}", expected=f"0 to {self.count() - 1}" if self.count() else "no GPU is there",
                              got=f"cuda:{ordinal}", hint="nvidia-smi lists the GPUs; CUDA_VISIBLE_DEVICES hides some")
        self.check(self.cuda.device_get(&device, ordinal), "opening the device")
        self.check(self.cuda.device_name(name, 128, device), "asking for its name")
        self.check(self.cuda.device_memory(&memory, device), "asking for its memory")
        self.check(self.cuda.device_attribute(&major, MAJOR, device), "asking for its capability")
        self.check(self.cuda.device_attribute(&minor, MINOR, device), "asking for its capability")
        return {"name": (<bytes>name).decode(), "capability": (major, minor), "memory": memory}

    def usable(self, int ordinal) -> dict:
        """`describe`; DeviceError for a device that the kernels are not for."""
        facts = self.describe(ordinal)
        if facts["capability"] < LEAST_CAPABILITY:
            raise DeviceError(f"{facts['name']} is too old", where=f"cuda:{ordinal}", got="{}.{}".format(*facts["capability"]),
                              expected="compute capability 8.0 (Ampere) or newer", hint="--device cpu")
        return facts


def words(int version) -> str:
    """13.0 of 13000."""
    return f"{version // 1000}.{version % 1000 // 10}"


@cython.no_gc_clear             # events and launches need the driver when they are freed
cdef class Context:
    """One GPU in use: its memory, its kernels, a stream for computing and one for copies that run beside it."""
    cdef readonly Driver driver
    cdef readonly int ordinal
    cdef readonly dict facts
    cdef CudaHandle context, stream, copies, pool
    cdef dict functions             # handle -> name
    cdef bint singly                # are kernels launched one by one, each waited for, so that one that fails is named?

    def __init__(self, Driver driver, int ordinal):
        cdef int device = 0, pools = 0
        cdef uint64_t all_of_it = <uint64_t>-1
        self.driver, self.ordinal, self.facts, self.functions = driver, ordinal, driver.usable(ordinal), {}
        self.singly = os.environ.get("DLCORE_CUDA_SINGLY", "0") not in ("", "0")
        driver.check(driver.cuda.device_get(&device, ordinal), "opening the device")
        driver.check(driver.cuda.context_retain(&self.context, device), "starting the device")
        self.use()
        driver.check(driver.cuda.stream_create(&self.stream, NON_BLOCKING), "making a stream")
        driver.check(driver.cuda.stream_create(&self.copies, NON_BLOCKING), "making a stream")
        driver.check(driver.cuda.device_attribute(&pools, POOLS, device), "asking for memory pools")
        if pools:                           # freed memory stays with the process, for the next program
            driver.check(driver.cuda.pool_default(&self.pool, device), "finding the memory pool")
            driver.check(driver.cuda.pool_set(self.pool, RELEASE_THRESHOLD, &all_of_it), "setting up the memory pool")

    cpdef use(self):
        """Makes the device that of the calling thread."""
        self.driver.check(self.driver.cuda.context_set(self.context), "choosing the device")

    def free_bytes(self) -> tuple:
        """(free, all), once the pool has given back what it does not use."""
        cdef size_t available = 0, total = 0
        self.use()
        if self.pool != NULL:
            self.driver.check(self.driver.cuda.stream_wait(self.stream), "running a step")
            self.driver.check(self.driver.cuda.pool_trim(self.pool, 0), "giving memory back")
        self.driver.check(self.driver.cuda.memory_info(&available, &total), "asking for its memory")
        return available, total

    cdef int ask(self, uint64_t* address, size_t size) noexcept:
        if self.pool != NULL:
            return self.driver.cuda.alloc_async(address, size, self.stream)
        return self.driver.cuda.alloc_device(address, size)

    def allocate(self, size_t size) -> int:
        """The address of zero bytes on the GPU, which are there when this returns, for copies beside the stream write them too.
        DeviceError where they do not fit."""
        cdef uint64_t address = 0
        cdef int code
        self.use()
        code = self.ask(&address, max(size, 1))
        if code == OUT_OF_MEMORY:
            available, total = self.free_bytes()            # gives back what the pool holds: then it may fit
            code = self.ask(&address, max(size, 1))
            if code == OUT_OF_MEMORY:
                raise too_large(size, available, total)
        self.driver.check(code, f"allocating {size} bytes")
        self.driver.check(self.driver.cuda.fill(address, 0, max(size, 1), self.stream), "clearing memory")
        self.wait()
        return address

    def release(self, uint64_t address) -> None:
        """Frees memory once what runs has ended; silently where the driver is gone, as at the end of the process."""
        self.driver.cuda.context_set(self.context)
        self.driver.cuda.stream_wait(self.copies)           # inputs that were sent ahead, and that no step has waited for
        if self.pool != NULL:
            self.driver.cuda.free_async(address, self.stream)
        else:
            self.driver.cuda.free_device(address)

    def pin(self, size_t size) -> int:
        """The address of memory of the processor that copies can run from and to beside everything else."""
        cdef void* host = NULL
        self.use()
        self.driver.check(self.driver.cuda.alloc_host(&host, max(size, 1), PORTABLE), f"pinning {size} bytes")
        return <uintptr_t>host

    def unpin(self, uint64_t address) -> None:
        """Frees such memory once no copy reads or writes it: a step that an exception left behind may still run."""
        self.driver.cuda.context_set(self.context)
        self.driver.cuda.stream_wait(self.copies)
        self.driver.cuda.stream_wait(self.stream)
        self.driver.cuda.free_host(<void*><uintptr_t>address)

    def upload(self, uint64_t to, uint64_t source, size_t size) -> None:
        """Copies bytes to the GPU, after all that was begun, and waits."""
        cdef int code
        cdef Cuda* cuda = &self.driver.cuda
        self.use()
        with nogil:
            code = cuda.copy_in(to, <void*><uintptr_t>source, size, self.stream)
            if code == 0:
                code = cuda.stream_wait(self.stream)
        self.driver.check(code, "copying to the GPU")

    def download(self, uint64_t to, uint64_t source, size_t size) -> None:
        """Copies bytes from the GPU, after all that was begun, and waits."""
        cdef int code
        cdef Cuda* cuda = &self.driver.cuda
        self.use()
        with nogil:
            code = cuda.copy_out(<void*><uintptr_t>to, source, size, self.stream)
            if code == 0:
                code = cuda.stream_wait(self.stream)
        self.driver.check(code, "copying from the GPU")

    def send(self, Event event, uint64_t to, uint64_t source, size_t size) -> None:
        """Begins a copy to the GPU beside what runs; `event` is when it has arrived."""
        self.use()
        self.driver.check(self.driver.cuda.copy_in(to, <void*><uintptr_t>source, size, self.copies), "copying to the GPU")
        self.driver.check(self.driver.cuda.event_record(event.handle, self.copies), "marking a copy")

    def function(self, str symbol, bytes image, int shared=0) -> int:
        """A kernel by its name, loaded.  shared: bytes of shared memory that it does not declare."""
        cdef CudaHandle module = NULL, function = NULL
        cdef const char* data = image
        name = symbol.encode()
        self.use()
        self.driver.check(self.driver.cuda.module_load(&module, data), f"loading {symbol}")
        self.driver.check(self.driver.cuda.module_function(&function, module, name), f"finding {symbol}")
        if shared:
            self.driver.check(self.driver.cuda.function_set(function, MOST_SHARED, shared), f"making room for {symbol}")
        self.functions[<uintptr_t>function] = symbol
        return <uintptr_t>function

    def clusters(self, uint64_t function, unsigned blocks, unsigned block, unsigned shared) -> int:
        """How many clusters of a kernel that has them the GPU can hold at once; -1 where the driver does not say."""
        cdef int found = 0
        cdef LaunchShape shape
        memset(&shape, 0, sizeof(shape))
        shape.blocks[0], shape.blocks[1], shape.blocks[2] = blocks, 1, 1
        shape.block[0], shape.block[1], shape.block[2] = block, 1, 1
        shape.shared = shared
        self.use()
        return found if self.driver.cuda.most_clusters(&found, <CudaHandle><uintptr_t>function, &shape) == 0 else -1

    cdef str named(self, CudaHandle function):
        """What a kernel is called."""
        return self.functions.get(<uintptr_t>function, "a kernel")

    def wait(self) -> None:
        """Until all that was begun is done."""
        cdef int code
        cdef CudaHandle stream = self.stream
        cdef Cuda* cuda = &self.driver.cuda
        with nogil:
            code = cuda.stream_wait(stream)
        self.driver.check(code, "running a step")


@cython.no_gc_clear             # __dealloc__ needs the context
cdef class Event:
    """A moment in the order of a stream.  timing: whether it knows when it was."""
    cdef readonly Context context
    cdef CudaHandle handle

    def __init__(self, Context context, bint timing=False):
        self.context = context
        context.use()
        context.driver.check(context.driver.cuda.event_create(&self.handle, 0 if timing else NO_TIMING), "making an event")

    def seconds_to(self, Event later) -> float:
        """From this moment to a later one; both are past, and know when they were."""
        cdef float milliseconds = 0
        self.context.use()
        self.context.driver.check(self.context.driver.cuda.event_span(&milliseconds, self.handle, later.handle), "reading its clock")
        return milliseconds * 1e-3

    def __dealloc__(self):
        if self.handle != NULL:
            self.context.driver.cuda.event_free(self.handle)


def too_large(size, available, total, what=""):
    """The DeviceError of a full memory; `share`: how much of what was asked for is free."""
    share = min(0.99, available / max(size, 1))
    error = DeviceError("the GPU's memory is full", where=what, expected=f"{size / 2**20:.0f} MiB",
                        got=f"{available / 2**20:.0f} of {total / 2**20:.0f} MiB free",
                        hint=f"a batch of about {max(1, int(100 * share))} % of this one may fit" if size else "")
    error.share = share
    return error


cdef struct Launch:
    CudaHandle function
    unsigned blocks, block, shared
    int64_t* words                  # the arguments, 8 bytes each
    void** parameters               # their addresses


cdef struct Copy:
    uint64_t to, source
    size_t size


@cython.no_gc_clear             # __dealloc__ needs the context
cdef class Launches:
    """Copies to the GPU, launches, copies from it: captured once as a graph and then replayed.

    timed: with an event before each launch and one behind the last, between which `spans` are"""
    cdef readonly Context context
    cdef readonly Event done
    cdef list marks
    cdef Launch* launches
    cdef Copy* copies
    cdef int count, before, after
    cdef int failed                 # the launch that the driver refused, -1: none
    cdef CudaHandle executable

    def __init__(self, Context context, list calls, before=(), after=(), bint timed=False):
        """calls: (function, blocks, block, shared, arguments) in order.  before, after: (to, from, bytes), pinned memory on one side."""
        cdef int n, i
        self.context, self.done = context, Event(context)
        self.marks = [Event(context, True) for _ in range(len(calls) + 1)] if timed else []
        self.count, self.before, self.after, self.failed = len(calls), len(before), len(after), -1
        self.launches = <Launch*>calloc(max(1, self.count), sizeof(Launch))
        self.copies = <Copy*>calloc(max(1, self.before + self.after), sizeof(Copy))
        if self.launches == NULL or self.copies == NULL:
            raise MemoryError
        for n, (to, source, size) in enumerate([*before, *after]):
            self.copies[n].to, self.copies[n].source, self.copies[n].size = to, source, size
        for n, (function, blocks, block, shared, arguments) in enumerate(calls):
            self.launches[n].function = <CudaHandle><uintptr_t>function
            self.launches[n].blocks, self.launches[n].block, self.launches[n].shared = blocks, block, shared
            self.launches[n].words = <int64_t*>calloc(max(1, len(arguments)), 8)
            self.launches[n].parameters = <void**>calloc(max(1, len(arguments)), sizeof(void*))
            if self.launches[n].words == NULL or self.launches[n].parameters == NULL:
                raise MemoryError
            for i, value in enumerate(arguments):
                self.launches[n].words[i] = value
                self.launches[n].parameters[i] = &self.launches[n].words[i]

    def __dealloc__(self):
        cdef int n
        if self.executable != NULL:
            self.context.driver.cuda.executable_free(self.executable)
        free(self.copies)
        if self.launches != NULL:
            for n in range(self.count):
                free(self.launches[n].words)
                free(self.launches[n].parameters)
            free(self.launches)

    cdef int issue(self, bint singly=False) except? -1:
        """The driver's code of the first copy or launch that failed, or 0.  singly: each launch is waited for."""
        cdef int n, code = 0
        self.failed = -1
        cdef Launch* each
        cdef Copy* copy
        cdef Cuda* cuda = &self.context.driver.cuda
        cdef CudaHandle stream = self.context.stream
        for n in range(self.before):
            copy = &self.copies[n]
            if code == 0 and copy.size:
                code = cuda.copy_in(copy.to, <void*><uintptr_t>copy.source, copy.size, stream)
        for n in range(self.count):
            each = &self.launches[n]
            if code == 0 and self.marks:
                code = self.mark(n)
            if code == 0 and each.blocks > 0:
                code = cuda.launch(each.function, each.blocks, 1, 1, each.block, 1, 1, each.shared, stream, each.parameters, NULL)
                if code == 0 and singly:
                    code = cuda.stream_wait(stream)
                if code != 0:
                    self.failed = n
        if code == 0 and self.marks:
            code = self.mark(self.count)
        for n in range(self.before, self.before + self.after):
            copy = &self.copies[n]
            if code == 0 and copy.size:
                code = cuda.copy_out(<void*><uintptr_t>copy.to, copy.source, copy.size, stream)
        return code

    cdef int mark(self, int n) except? -1:
        cdef Event event = self.marks[n]
        return self.context.driver.cuda.event_mark(event.handle, self.context.stream, EXTERNAL)

    def spans(self) -> list:
        """Seconds of each launch in the last replay, which is finished."""
        return [begin.seconds_to(end) for begin, end in zip(self.marks, self.marks[1:])]

    cdef str blamed(self, str what):
        """What was tried, and with which kernel."""
        return what if self.failed < 0 else f"{what}: {self.context.named(self.launches[self.failed].function)}"

    def run_plainly(self) -> None:
        """Without a graph, to the end: what runs once."""
        self.context.use()
        code = self.issue(self.context.singly)
        self.context.driver.check(code, self.blamed("launching a kernel"))
        self.context.wait()

    def capture(self) -> None:
        """Makes the graph."""
        cdef CudaHandle graph = NULL
        cdef Driver driver = self.context.driver
        cdef int code
        self.context.use()
        driver.check(driver.cuda.capture_begin(self.context.stream, RELAXED), "recording a step")
        code = self.issue()
        end = driver.cuda.capture_end(self.context.stream, &graph)
        driver.check(code, self.blamed("recording a kernel"))
        driver.check(end, "recording a step")
        code = driver.cuda.graph_make(&self.executable, graph, 0)
        driver.cuda.graph_free(graph)
        driver.check(code, "making a graph")

    def begin(self, Event behind=None) -> None:
        """Replays everything, behind what was begun before and behind an event; does not wait."""
        cdef int code = 0
        cdef Cuda* cuda = &self.context.driver.cuda
        cdef CudaHandle stream = self.context.stream
        cdef bint singly = self.context.singly and not self.marks       # which only a graph can record
        self.context.use()
        if self.executable == NULL and not singly:
            self.capture()
        if behind is not None:
            code = cuda.stream_follow(stream, behind.handle, 0)
        if code == 0:
            code = self.issue(True) if singly else cuda.graph_launch(self.executable, stream)
        if code == 0:
            code = cuda.event_record(self.done.handle, stream)
        self.context.driver.check(code, self.blamed("starting a step"))

    def finish(self) -> None:
        """Waits until what was begun last is done; what was begun later elsewhere goes on."""
        cdef int code
        cdef Cuda* cuda = &self.context.driver.cuda
        cdef CudaHandle event = self.done.handle
        with nogil:
            code = cuda.event_wait(event)
        self.context.driver.check(code, "running a step")
