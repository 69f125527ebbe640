/* A driver for tests: what is asked of it is told to the test, which keeps the GPU's memory and the order of streams. */
#include <stddef.h>
#include <stdint.h>

typedef int64_t (*Told)(int what, int64_t a, int64_t b, int64_t c, void **parameters);
enum { ALLOC, FREE, PIN, UNPIN, FUNCTION, LAUNCH, BEGIN, END, MAKE, REPLAY, COPY_IN, COPY_OUT, FILL, EVENT, RECORD, WAIT, FOLLOW, SYNC, MARK, SPAN };

static Told told;
static int version = 13000, count = 1, major = 9, minor = 0, pools = 1, failure = 0;
static char streams[8];
static int made, clusters = 16, refused;

void fake_setup(Told f, int v, int n, int ma, int mi, int p) {
  told = f, version = v, count = n, major = ma, minor = mi, pools = p, failure = 0, made = 0, clusters = 16, refused = 0;
}
void fake_fail(int code) { failure = code; }
void fake_clusters(int most) { clusters = most; }
void fake_refuse(int function) { refused = function; }
static int64_t number(void *stream) { return (char *)stream - streams; }

int cuInit(unsigned flags) { return (void)flags, count < 0 ? 100 : 0; }
int cuDriverGetVersion(int *v) { return *v = version, 0; }
int cuDeviceGetCount(int *n) { return *n = count, 0; }
int cuDeviceGet(int *d, int ordinal) { return *d = ordinal, 0; }
int cuDeviceGetName(char *name, int length, int d) {
  const char *s = "Fake GPU";
  (void)d;
  for (int i = 0; i < length && (name[i] = s[i]); i++) {}
  return 0;
}
int cuDeviceTotalMem_v2(size_t *bytes, int d) { return (void)d, *bytes = 1 << 24, 0; }
int cuDeviceGetAttribute(int *value, int attribute, int d) {
  return (void)d, *value = attribute == 75 ? major : attribute == 76 ? minor : pools, 0;
}
int cuDevicePrimaryCtxRetain(void **context, int d) { return (void)d, *context = &version, 0; }
int cuCtxSetCurrent(void *context) { return context == &version ? 0 : 201; }
int cuMemGetInfo_v2(size_t *available, size_t *total) { return *available = 1 << 23, *total = 1 << 24, 0; }
int cuDeviceGetDefaultMemPool(void **pool, int d) { return (void)d, *pool = &pools, 0; }
int cuMemPoolSetAttribute(void *pool, int attribute, void *value) { return pool != &pools || attribute != 4 || !value; }
int cuMemPoolTrimTo(void *pool, size_t kept) { return pool != &pools || kept; }
static int take(uint64_t *address, size_t bytes) { return (*address = (uint64_t)told(ALLOC, (int64_t)bytes, 0, 0, NULL)) ? 0 : 2; }
int cuMemAllocAsync(uint64_t *address, size_t bytes, void *stream) { return (void)stream, take(address, bytes); }
int cuMemAlloc_v2(uint64_t *address, size_t bytes) { return take(address, bytes); }
int cuMemFreeAsync(uint64_t address, void *stream) { return (void)stream, (int)told(FREE, (int64_t)address, 0, 0, NULL); }
int cuMemFree_v2(uint64_t address) { return (int)told(FREE, (int64_t)address, 0, 0, NULL); }
int cuMemHostAlloc(void **address, size_t bytes, unsigned flags) {
  return (void)flags, (*address = (void *)told(PIN, (int64_t)bytes, 0, 0, NULL)) ? 0 : 2;
}
int cuMemFreeHost(void *address) { return (int)told(UNPIN, (int64_t)address, 0, 0, NULL); }
int cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t bytes, void *stream) {
  void *more[] = {(void *)number(stream)};
  return (int)told(COPY_IN, (int64_t)to, (int64_t)from, (int64_t)bytes, more);
}
int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t bytes, void *stream) {
  void *more[] = {(void *)number(stream)};
  return (int)told(COPY_OUT, (int64_t)to, (int64_t)from, (int64_t)bytes, more);
}
int cuMemsetD8Async(uint64_t address, unsigned char value, size_t bytes, void *stream) {
  void *more[] = {(void *)number(stream)};
  return (int)told(FILL, (int64_t)address, value, (int64_t)bytes, more);
}
int cuEventCreate(void **event, unsigned flags) { return *event = (void *)told(EVENT, flags, 0, 0, NULL), 0; }
int cuEventRecordWithFlags(void *event, void *stream, unsigned flags) {
  return flags == 1 ? (int)told(MARK, (int64_t)event, number(stream), 0, NULL) : 1;
}
int cuEventElapsedTime(float *milliseconds, void *begin, void *end) {
  int64_t ns = told(SPAN, (int64_t)begin, (int64_t)end, 0, NULL);
  return *milliseconds = (float)ns * 1e-6f, ns < 0 ? 400 : 0;
}
int cuEventRecord(void *event, void *stream) { return (int)told(RECORD, (int64_t)event, number(stream), 0, NULL); }
int cuEventSynchronize(void *event) { return told(WAIT, (int64_t)event, 0, 0, NULL) ? 719 : failure; }
int cuEventDestroy_v2(void *event) { return (void)event, 0; }
int cuStreamWaitEvent(void *stream, void *event, unsigned flags) { return (void)flags, (int)told(FOLLOW, number(stream), (int64_t)event, 0, NULL); }
int cuModuleLoadData(void **module, const void *image) { return *module = (void *)image, failure == 209 ? 209 : 0; }
int cuModuleGetFunction(void **function, void *module, const char *name) {
  return (*function = (void *)told(FUNCTION, (int64_t)name, ((const char *)module)[0] == 0x7f, 0, NULL)) ? 0 : 500;
}
int cuFuncSetAttribute(void *function, int attribute, int value) { return !function || attribute != 8 || value <= 0; }
struct shape { unsigned blocks[3], block[3], shared; void *stream, *attributes; unsigned count; };
int cuOccupancyMaxActiveClusters(int *found, void *function, const struct shape *shape) {
  int whole = function && shape->blocks[1] == 1 && shape->block[2] == 1 && !shape->stream && !shape->attributes && !shape->count;
  return *found = clusters, whole && clusters >= 0 ? 0 : 1;
}
int cuStreamCreate(void **stream, unsigned flags) { return (void)flags, *stream = &streams[made++], 0; }
int cuStreamSynchronize(void *stream) { return told(SYNC, number(stream), 0, 0, NULL) ? 719 : failure; }
int cuLaunchKernel(void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared,
                   void *stream, void **parameters, void **extra) {
  if (refused == (int)(int64_t)function) return 912;
  if (gx < 1 || gy != 1 || gz != 1 || bx < 1 || by != 1 || bz != 1 || number(stream) || extra) return 1;
  return (int)told(LAUNCH, (int64_t)function, gx, bx | (int64_t)shared << 32, parameters);
}
int cuStreamBeginCapture_v2(void *stream, int mode) { return (void)mode, (int)told(BEGIN, number(stream), 0, 0, NULL); }
int cuStreamEndCapture(void *stream, void **graph) { return (*graph = (void *)told(END, number(stream), 0, 0, NULL)) ? 0 : 901; }
int cuGraphInstantiateWithFlags(void **executable, void *graph, unsigned long long flags) {
  return (void)flags, *executable = (void *)told(MAKE, (int64_t)graph, 0, 0, NULL), 0;
}
int cuGraphLaunch(void *executable, void *stream) { return (int)told(REPLAY, (int64_t)executable, number(stream), 0, NULL); }
int cuGraphDestroy(void *graph) { return (void)graph, 0; }
int cuGraphExecDestroy(void *executable) { return (void)executable, 0; }
int cuGetErrorName(int code, const char **text) { return *text = code == 719 ? "CUDA_ERROR_LAUNCH_FAILED" : "CUDA_ERROR", 0; }
int cuGetErrorString(int code, const char **text) { return (void)code, *text = "as the test wants it", 0; }
