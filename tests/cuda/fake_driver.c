/* A driver for tests: memory comes from a pool that the test owns; launches, graphs and captures are told to the test. */
#include <stddef.h>
#include <stdint.h>

typedef int64_t (*Told)(int what, int64_t a, int64_t b, int64_t c, void **parameters);
enum { ALLOC, FREE, FUNCTION, LAUNCH, BEGIN, END, MAKE, REPLAY };

static Told told;
static int version = 13000, count = 1, major = 9, minor = 0, failure = 0;

void fake_setup(Told f, int v, int n, int ma, int mi) { told = f, version = v, count = n, major = ma, minor = mi, failure = 0; }
void fake_fail(int code) { failure = code; }

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
int cuDeviceGetAttribute(int *value, int attribute, int d) { return (void)d, *value = attribute == 75 ? major : minor, 0; }
int cuDevicePrimaryCtxRetain(void **context, int d) { return (void)d, *context = &version, 0; }
int cuCtxSetCurrent(void *context) { return context == &version ? 0 : 201; }
int cuMemGetInfo_v2(size_t *available, size_t *total) { return *available = 1 << 23, *total = 1 << 24, 0; }
static int take(uint64_t *address, size_t bytes) { return (*address = (uint64_t)told(ALLOC, (int64_t)bytes, 0, 0, NULL)) ? 0 : 2; }
int cuMemAllocManaged(uint64_t *address, size_t bytes, unsigned flags) { return (void)flags, take(address, bytes); }
int cuMemHostAlloc(void **address, size_t bytes, unsigned flags) { return (void)flags, take((uint64_t *)address, bytes); }
int cuMemFree_v2(uint64_t address) { return (int)told(FREE, (int64_t)address, 0, 0, NULL); }
int cuMemFreeHost(void *address) { return (int)told(FREE, (int64_t)address, 0, 0, NULL); }
int cuModuleLoadData(void **module, const void *image) { return *module = (void *)image, failure == 209 ? 209 : 0; }
int cuModuleGetFunction(void **function, void *module, const char *name) {
  return (void)module, (*function = (void *)told(FUNCTION, (int64_t)name, 0, 0, NULL)) ? 0 : 500;
}
int cuStreamCreate(void **stream, unsigned flags) { return (void)flags, *stream = &count, 0; }
int cuStreamSynchronize(void *stream) { return (void)stream, failure; }
int cuLaunchKernel(void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared,
                   void *stream, void **parameters, void **extra) {
  if (gx < 1 || gy != 1 || gz != 1 || bx < 1 || by != 1 || bz != 1 || shared || stream != &count || extra) return 1;
  return (int)told(LAUNCH, (int64_t)function, gx, bx, parameters);
}
int cuStreamBeginCapture_v2(void *stream, int mode) { return (void)stream, (void)mode, (int)told(BEGIN, 0, 0, 0, NULL); }
int cuStreamEndCapture(void *stream, void **graph) { return (void)stream, (*graph = (void *)told(END, 0, 0, 0, NULL)) ? 0 : 901; }
int cuGraphInstantiateWithFlags(void **executable, void *graph, unsigned long long flags) {
  return (void)flags, *executable = (void *)told(MAKE, (int64_t)graph, 0, 0, NULL), 0;
}
int cuGraphLaunch(void *executable, void *stream) { return (void)stream, (int)told(REPLAY, (int64_t)executable, 0, 0, NULL); }
int cuGraphDestroy(void *graph) { return (void)graph, 0; }
int cuGraphExecDestroy(void *executable) { return (void)executable, 0; }
int cuGetErrorName(int code, const char **text) { return *text = code == 719 ? "CUDA_ERROR_LAUNCH_FAILED" : "CUDA_ERROR", 0; }
int cuGetErrorString(int code, const char **text) { return (void)code, *text = "as the test wants it", 0; }
