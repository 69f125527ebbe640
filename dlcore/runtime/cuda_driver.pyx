# cython: language_level=3, cdivision=True, embedsignature=True
"""The NVIDIA driver: what it is, memory that processor and GPU both see, kernels, and lists of launches replayed as one graph.

libcuda is opened by name when the first GPU is asked for; nothing of NVIDIA is needed to build, import or install.  A driver's error
becomes a DeviceError that says what was tried and how to mend it.
"""
import os

from libc.stdint cimport int64_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free

from dlcore.errors import DeviceError

cdef extern from "cuda_driver.h" nogil:
    ctypedef void* CudaHandle
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
        int (*alloc_managed)(uint64_t*, size_t, unsigned) noexcept nogil
        int (*alloc_host)(void**, size_t, unsigned) noexcept nogil
        int (*free_device)(uint64_t) noexcept nogil
        int (*free_host)(void*) noexcept nogil
        int (*module_load)(CudaHandle*, const void*) noexcept nogil
        int (*module_function)(CudaHandle*, CudaHandle, const char*) noexcept nogil
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
    ATTACH_GLOBAL = 1               # managed memory is seen by all streams
    HOST_MAPPED = 3                 # portable, and mapped into the GPU's addresses
    NON_BLOCKING = 1
    RELAXED = 2                     # what other threads do meanwhile does not break a capture
    OUT_OF_MEMORY = 2
ADVICE = {
    2: "the GPU's memory is full: a smaller batch, or end what else uses the GPU (nvidia-smi lists it)",
    46: "the GPU is in use exclusively by another process, or prohibited: nvidia-smi shows who and how",
    100: "no GPU can be seen: check nvidia-smi and CUDA_VISIBLE_DEVICES",
    101: "there is no GPU of that number: nvidia-smi lists them",
    209: "the kernels are for other GPUs: build dlcore with the CUDA tools for this one",
    222: "the driver is older than the kernels: install a newer one",
    700: "a kernel left its memory; the process must be started again.  Please report it with the model and the batch",
    719: "a kernel failed; the process must be started again.  Please report it with the model and the batch",
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


cdef class Context:
    """One GPU in use: its memory, its kernels, one stream."""
    cdef readonly Driver driver
    cdef readonly int ordinal
    cdef readonly dict facts
    cdef CudaHandle context, stream
    cdef dict functions

    def __init__(self, Driver driver, int ordinal):
        cdef int device = 0
        self.driver, self.ordinal, self.facts, self.functions = driver, ordinal, driver.usable(ordinal), {}
        driver.check(driver.cuda.device_get(&device, ordinal), "opening the device")
        driver.check(driver.cuda.context_retain(&self.context, device), "starting the device")
        self.use()
        driver.check(driver.cuda.stream_create(&self.stream, NON_BLOCKING), "making a stream")

    cpdef use(self):
        """Makes the device that of the calling thread."""
        self.driver.check(self.driver.cuda.context_set(self.context), "choosing the device")

    def free_bytes(self) -> tuple:
        """(free, all)"""
        cdef size_t available = 0, total = 0
        self.use()
        self.driver.check(self.driver.cuda.memory_info(&available, &total), "asking for its memory")
        return available, total

    def allocate(self, size_t size, bint pinned) -> int:
        """The address of memory that both see: moved to who touches it, or, `pinned`, staying with the processor."""
        cdef uint64_t address = 0
        cdef void* host = NULL
        cdef int code
        self.use()
        if pinned:
            code = self.driver.cuda.alloc_host(&host, max(size, 1), HOST_MAPPED)
            address = <uintptr_t>host
        else:
            available, total = self.free_bytes()
            if size > total:                # managed memory may be larger than the GPU's, and then moves to and fro: refused
                raise too_large(size, available, total)
            code = self.driver.cuda.alloc_managed(&address, max(size, 1), ATTACH_GLOBAL)
        if code == OUT_OF_MEMORY:
            raise too_large(size, *self.free_bytes())
        self.driver.check(code, f"allocating {size} bytes")
        return address

    def release(self, uint64_t address, bint pinned) -> None:
        """Frees memory; silently where the driver is gone, as at the end of the process."""
        self.driver.cuda.context_set(self.context)
        if pinned:
            self.driver.cuda.free_host(<void*><uintptr_t>address)
        else:
            self.driver.cuda.free_device(address)

    def function(self, str symbol, bytes image) -> int:
        """A kernel by its name, loaded once."""
        cdef CudaHandle module = NULL, function = NULL
        cdef const char* data = image
        name = symbol.encode()
        if symbol not in self.functions:
            self.use()
            self.driver.check(self.driver.cuda.module_load(&module, data), f"loading {symbol}")
            self.driver.check(self.driver.cuda.module_function(&function, module, name), f"finding {symbol}")
            self.functions[symbol] = <uintptr_t>function
        return self.functions[symbol]

    def wait(self) -> None:
        """Until all that was begun is done."""
        cdef int code
        cdef CudaHandle stream = self.stream
        cdef Cuda* cuda = &self.driver.cuda
        with nogil:
            code = cuda.stream_wait(stream)
        self.driver.check(code, "running a step")


def too_large(size, available, total):
    share = max(1, int(100 * available / max(size, 1)))
    return DeviceError("the GPU's memory is full", expected=f"{size / 2**20:.0f} MiB", got=f"{available / 2**20:.0f} of {total / 2**20:.0f} MiB free",
                       hint=f"a batch of about {min(share, 99)} % of this one may fit" if size else "")


cdef struct Launch:
    CudaHandle function
    unsigned blocks, block
    int64_t* words                  # the arguments, 8 bytes each
    void** parameters               # their addresses


cdef class Launches:
    """A list of launches, captured once as a graph and then replayed."""
    cdef readonly Context context
    cdef Launch* launches
    cdef int count
    cdef CudaHandle executable

    def __init__(self, Context context, list calls):
        """calls: (function, blocks, block, arguments) in order."""
        cdef int n, i
        self.context, self.count = context, len(calls)
        self.launches = <Launch*>calloc(max(1, self.count), sizeof(Launch))
        if self.launches == NULL:
            raise MemoryError
        for n, (function, blocks, block, arguments) in enumerate(calls):
            self.launches[n].function = <CudaHandle><uintptr_t>function
            self.launches[n].blocks, self.launches[n].block = blocks, block
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
        if self.launches != NULL:
            for n in range(self.count):
                free(self.launches[n].words)
                free(self.launches[n].parameters)
            free(self.launches)

    cdef int issue(self, int first, int last) except? -1:
        """The driver's code of the first launch that failed, or 0."""
        cdef int n, code = 0
        cdef Launch* each
        cdef Cuda* cuda = &self.context.driver.cuda
        for n in range(first, last):
            each = &self.launches[n]
            if code == 0 and each.blocks > 0:
                code = cuda.launch(each.function, each.blocks, 1, 1, each.block, 1, 1, 0, self.context.stream, each.parameters, NULL)
        return code

    def run_one(self, int n) -> None:
        """One launch by itself, to its end."""
        self.context.use()
        self.context.driver.check(self.issue(n, n + 1), "launching a kernel")
        self.context.wait()

    def capture(self) -> None:
        """Makes the graph of all launches."""
        cdef CudaHandle graph = NULL
        cdef Driver driver = self.context.driver
        cdef int code
        self.context.use()
        driver.check(driver.cuda.capture_begin(self.context.stream, RELAXED), "recording a step")
        code = self.issue(0, self.count)
        end = driver.cuda.capture_end(self.context.stream, &graph)
        driver.check(code, "recording a kernel")
        driver.check(end, "recording a step")
        code = driver.cuda.graph_make(&self.executable, graph, 0)
        driver.cuda.graph_free(graph)
        driver.check(code, "making a graph")

    def run(self) -> None:
        """Replays all launches and waits for them."""
        cdef int code
        cdef Cuda* cuda = &self.context.driver.cuda
        cdef CudaHandle stream = self.context.stream, executable
        self.context.use()
        if self.executable == NULL:
            self.capture()
        executable = self.executable
        with nogil:
            code = cuda.graph_launch(executable, stream)
            if code == 0:
                code = cuda.stream_wait(stream)
        self.context.driver.check(code, "running a step")
