/* Kernels for the tests of the run time, with the C entry that the compiler gives its own. */
#include <math.h>
#include <stdint.h>
#include <time.h>

typedef union { float f32; double f64; int64_t i64; } Scalar;
#define KERNEL(name) void dl_##name(int64_t begin, int64_t end, const int64_t *dims, void **pointers, const Scalar *scalars)
#define UNUSED (void)begin, (void)end, (void)dims, (void)pointers, (void)scalars

/* plus(x: F[S], y: F[S] -> +out: F[S]), over S */
KERNEL(plus_f32_v2) {
  UNUSED;
  float *x = pointers[0], *y = pointers[1], *out = pointers[2];
  for (int64_t i = begin; i < end; i++) out[i] = x[i] + y[i] + (scalars[0].i64 ? out[i] : 0);
}
KERNEL(plus_f64_v2) {
  UNUSED;
  double *x = pointers[0], *y = pointers[1], *out = pointers[2];
  for (int64_t i = begin; i < end; i++) out[i] = x[i] + y[i] + (scalars[0].i64 ? out[i] : 0);
}

/* affine(x: F[S], factor: f32, by: i64 -> out: F[S]), over S */
KERNEL(affine_f32_v2) {
  UNUSED;
  float *x = pointers[0], *out = pointers[1];
  for (int64_t i = begin; i < end; i++) out[i] = x[i] * scalars[0].f32 + (float)scalars[1].i64;
}
KERNEL(affine_f64_v2) {
  UNUSED;
  double *x = pointers[0], *out = pointers[1];
  for (int64_t i = begin; i < end; i++) out[i] = x[i] * scalars[0].f64 + (double)scalars[1].i64;
}

/* multiply(a: F[M, K], b: F[K, N], bias: F[N]? -> +out: F[M, N]), over M; dims M K N */
KERNEL(multiply_f32_v2) {
  UNUSED;
  int64_t K = dims[1], N = dims[2];
  float *a = pointers[0], *b = pointers[1], *bias = pointers[2], *out = pointers[3];
  for (int64_t i = begin; i < end; i++)
    for (int64_t j = 0; j < N; j++) {
      float total = bias ? bias[j] : 0;
      for (int64_t k = 0; k < K; k++) total += a[i * K + k] * b[k * N + j];
      out[i * N + j] = total + (scalars[0].i64 ? out[i * N + j] : 0);
    }
}

/* column_parts(x: F[N, C] -> parts: F[CHUNKS, C]), over N in CHUNKS; dims N C CHUNKS */
KERNEL(column_parts_f32_v2) {
  UNUSED;
  int64_t N = dims[0], C = dims[1], parts = dims[2];
  float *x = pointers[0], *out = pointers[1];
  for (int64_t c = begin; c < end; c++)
    for (int64_t j = 0; j < C; j++) {
      float total = 0;
      for (int64_t i = c * N / parts; i < (c + 1) * N / parts; i++) total += x[i * C + j];
      out[c * C + j] = total;
    }
}

/* add_parts(parts: F[P, C] -> +out: F[C]), over C; dims P C */
KERNEL(add_parts_f32_v2) {
  UNUSED;
  int64_t P = dims[0], C = dims[1];
  float *parts = pointers[0], *out = pointers[1];
  for (int64_t j = begin; j < end; j++) {
    float total = scalars[0].i64 ? out[j] : 0;
    for (int64_t p = 0; p < P; p++) total += parts[p * C + j];
    out[j] = total;
  }
}

/* sgd(dweight: f32[S], status: i64[1], lr: f32 -> ~weight: f32[S]), over S */
KERNEL(sgd_f32_v2) {
  UNUSED;
  float *dweight = pointers[0], *weight = pointers[2];
  if (*(int64_t *)pointers[1]) return;
  for (int64_t i = begin; i < end; i++) weight[i] -= scalars[0].f32 * dweight[i];
}

/* check(x: f32[S] -> status: i64[1]), over 1 */
KERNEL(check_f32_v2) {
  UNUSED;
  float *x = pointers[0];
  int64_t bad = 0;
  for (int64_t i = 0; i < dims[0]; i++) bad |= !isfinite(x[i]);
  *(int64_t *)pointers[1] = bad;
}

/* logarithm(x: F[S] -> out: F[S]), over S */
KERNEL(logarithm_f32_v2) {
  UNUSED;
  float *x = pointers[0], *out = pointers[1];
  for (int64_t i = begin; i < end; i++) out[i] = logf(x[i]);
}

/* overrun(x: F[S], extra: i64 -> out: F[S]), over S: writes `extra` elements behind its end (before its beginning if negative) */
KERNEL(overrun_f32_v2) {
  UNUSED;
  float *x = pointers[0], *out = pointers[1];
  int64_t extra = scalars[0].i64;
  for (int64_t i = begin; i < end; i++) out[i] = x[i];
  if (end == dims[0])
    for (int64_t i = 0; i < extra; i++) out[end + i] = 7;
  for (int64_t i = extra; i < 0; i++) out[i] = 7;
}

/* nap(x: F[S], us: i64 -> out: F[S]), over S: takes so many microseconds of processor time in all */
KERNEL(nap_f32_v2) {
  UNUSED;
  float *x = pointers[0], *out = pointers[1];
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  int64_t until = t.tv_sec * 1000000000 + t.tv_nsec + scalars[0].i64 * 1000 * (end - begin) / dims[0];
  do clock_gettime(CLOCK_MONOTONIC, &t);
  while (t.tv_sec * 1000000000 + t.tv_nsec < until);
  for (int64_t i = begin; i < end; i++) out[i] = x[i];
}

/* nothing(x: F[S] -> out: F[S]), over S: what a call and a barrier cost */
KERNEL(nothing_f32_v2) { UNUSED; }

/* environment(x: F[S] -> out: F[S]), over S: half of x, which may be subnormal */
KERNEL(halve_f32_v2) {
  UNUSED;
  float *x = pointers[0], *out = pointers[1];
  for (int64_t i = begin; i < end; i++) out[i] = x[i] * 0.5f;
}

/* level(x: F[S] -> out: F[S]), over S: the level that this entry was made for */
KERNEL(level_f32_v2) { UNUSED; ((float *)pointers[1])[0] = 2; }
KERNEL(level_f32_v3) { UNUSED; ((float *)pointers[1])[0] = 3; }
#if defined(__x86_64__)
__attribute__((target("avx512f"))) KERNEL(level_f32_v4) { UNUSED; ((float *)pointers[1])[0] = 4; }
/* dot(x: bf16[S], y: bf16[S] -> out: f32[16]), over 1: vdpbf16ps over 32 products at a time */
KERNEL(dot_f32_v4_bf16) {
  UNUSED;
  char *x = pointers[0], *y = pointers[1];
  __asm__ volatile("vpxord %%zmm0, %%zmm0, %%zmm0" ::: "xmm0");
  for (int64_t i = 0; i + 32 <= dims[0]; i += 32)
    __asm__ volatile("vmovdqu8 (%0), %%zmm1\n vdpbf16ps (%1), %%zmm1, %%zmm0" ::"r"(x + 2 * i), "r"(y + 2 * i)
                     : "xmm0", "xmm1");
  __asm__ volatile("vmovups %%zmm0, (%0)\n vzeroupper" ::"r"(pointers[2]) : "memory", "xmm0");
}
#endif
