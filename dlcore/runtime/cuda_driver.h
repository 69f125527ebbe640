/* The NVIDIA driver's functions that dlcore calls, found in libcuda at run time: no header or library of NVIDIA is needed to build. */
#pragma once
#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>

typedef void *CudaHandle; /* a context, module, function, stream or graph */

/* CUlaunchConfig: how a kernel is to be launched */
typedef struct {
  unsigned blocks[3], block[3], shared;
  CudaHandle stream;
  void *attributes;
  unsigned count;
} LaunchShape;

/* field, exported name, arguments */
#define CUDA_FUNCTIONS(X)                                                                                                         \
  X(init, "cuInit", (unsigned flags))                                                                                             \
  X(driver_version, "cuDriverGetVersion", (int *version))                                                                         \
  X(device_count, "cuDeviceGetCount", (int *count))                                                                               \
  X(device_get, "cuDeviceGet", (int *device, int ordinal))                                                                        \
  X(device_name, "cuDeviceGetName", (char *name, int length, int device))                                                         \
  X(device_memory, "cuDeviceTotalMem_v2", (size_t *bytes, int device))                                                            \
  X(device_attribute, "cuDeviceGetAttribute", (int *value, int attribute, int device))                                            \
  X(context_retain, "cuDevicePrimaryCtxRetain", (CudaHandle *context, int device))                                                \
  X(context_set, "cuCtxSetCurrent", (CudaHandle context))                                                                         \
  X(memory_info, "cuMemGetInfo_v2", (size_t *available, size_t *total))                                                           \
  X(pool_default, "cuDeviceGetDefaultMemPool", (CudaHandle *pool, int device))                                                    \
  X(pool_set, "cuMemPoolSetAttribute", (CudaHandle pool, int attribute, void *value))                                             \
  X(pool_trim, "cuMemPoolTrimTo", (CudaHandle pool, size_t kept))                                                                 \
  X(alloc_async, "cuMemAllocAsync", (uint64_t *address, size_t bytes, CudaHandle stream))                                         \
  X(free_async, "cuMemFreeAsync", (uint64_t address, CudaHandle stream))                                                          \
  X(alloc_device, "cuMemAlloc_v2", (uint64_t *address, size_t bytes))                                                             \
  X(alloc_host, "cuMemHostAlloc", (void **address, size_t bytes, unsigned flags))                                                 \
  X(free_device, "cuMemFree_v2", (uint64_t address))                                                                              \
  X(free_host, "cuMemFreeHost", (void *address))                                                                                  \
  X(copy_in, "cuMemcpyHtoDAsync_v2", (uint64_t to, const void *from, size_t bytes, CudaHandle stream))                            \
  X(copy_out, "cuMemcpyDtoHAsync_v2", (void *to, uint64_t from, size_t bytes, CudaHandle stream))                                 \
  X(fill, "cuMemsetD8Async", (uint64_t address, unsigned char value, size_t bytes, CudaHandle stream))                            \
  X(event_create, "cuEventCreate", (CudaHandle *event, unsigned flags))                                                           \
  X(event_record, "cuEventRecord", (CudaHandle event, CudaHandle stream))                                                         \
  X(event_mark, "cuEventRecordWithFlags", (CudaHandle event, CudaHandle stream, unsigned flags))                                  \
  X(event_span, "cuEventElapsedTime", (float *milliseconds, CudaHandle begin, CudaHandle end))                                    \
  X(event_wait, "cuEventSynchronize", (CudaHandle event))                                                                         \
  X(event_free, "cuEventDestroy_v2", (CudaHandle event))                                                                          \
  X(stream_follow, "cuStreamWaitEvent", (CudaHandle stream, CudaHandle event, unsigned flags))                                    \
  X(module_load, "cuModuleLoadData", (CudaHandle *module, const void *image))                                                     \
  X(module_function, "cuModuleGetFunction", (CudaHandle *function, CudaHandle module, const char *name))                          \
  X(function_set, "cuFuncSetAttribute", (CudaHandle function, int attribute, int value))                                          \
  X(most_clusters, "cuOccupancyMaxActiveClusters", (int *count, CudaHandle function, const LaunchShape *shape))                   \
  X(stream_create, "cuStreamCreate", (CudaHandle *stream, unsigned flags))                                                        \
  X(stream_wait, "cuStreamSynchronize", (CudaHandle stream))                                                                      \
  X(launch, "cuLaunchKernel",                                                                                                     \
    (CudaHandle function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared,          \
     CudaHandle stream, void **parameters, void **extra))                                                                         \
  X(capture_begin, "cuStreamBeginCapture_v2", (CudaHandle stream, int mode))                                                      \
  X(capture_end, "cuStreamEndCapture", (CudaHandle stream, CudaHandle *graph))                                                    \
  X(graph_make, "cuGraphInstantiateWithFlags", (CudaHandle *executable, CudaHandle graph, unsigned long long flags))              \
  X(graph_launch, "cuGraphLaunch", (CudaHandle executable, CudaHandle stream))                                                    \
  X(graph_free, "cuGraphDestroy", (CudaHandle graph))                                                                             \
  X(executable_free, "cuGraphExecDestroy", (CudaHandle executable))                                                               \
  X(error_name, "cuGetErrorName", (int code, const char **text))                                                                  \
  X(error_text, "cuGetErrorString", (int code, const char **text))

typedef struct {
#define FIELD(field, name, arguments) int(*field) arguments;
  CUDA_FUNCTIONS(FIELD)
#undef FIELD
} Cuda;

/* NULL, or what is missing: the library itself or a function of it. */
static const char *cuda_load(Cuda *cuda, const char *path) {
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!library) return path;
#define FIND(field, name, arguments) \
  if (!(*(void **)&cuda->field = dlsym(library, name))) return name;
  CUDA_FUNCTIONS(FIND)
#undef FIND
  return NULL;
}
