/* The machine's limits: multiply-adds from registers, memory bandwidth.  One JSON line each, the best of SAMPLES.
 *
 *   gcc -O3 -march=native -ffp-contract=fast -pthread probe.c -o probe && ./probe 2
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#if defined(__AVX512BF16__) || defined(__AVX512VNNI__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define WIDTH 64
#elif defined(__AVX__)
#define WIDTH 32
#else
#define WIDTH 16
#endif
#define CHAINS 12 /* independent accumulators: more than latency times units, and they fit in 16 registers */
#define SAMPLES 15
#define ITERATIONS 2000000L
#define MEMORY_BYTES (256L << 20)
#define MOST_THREADS 256

typedef float Vector __attribute__((vector_size(WIDTH)));
typedef double (*Kernel)(int thread, int threads); /* returns the operations or bytes done */

static volatile float sink;
static float *memory;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + 1e-9 * t.tv_nsec;
}

static double fma_f32(int thread, int threads) {
    (void)thread, (void)threads;
    Vector a[CHAINS], x, y;
    for (int i = 0; i < (int)(WIDTH / sizeof(float)); i++) x[i] = 0.999f, y[i] = 1e-3f;
    for (int i = 0; i < CHAINS; i++) a[i] = x * (float)i;
    for (long t = 0; t < ITERATIONS; t++) {
#pragma GCC unroll 12
        for (int i = 0; i < CHAINS; i++) a[i] = a[i] * x + y;
    }
    for (int i = 1; i < CHAINS; i++) a[0] += a[i];
    sink = a[0][0];
    return 2.0 * ITERATIONS * CHAINS * (WIDTH / sizeof(float));
}

#if defined(__AVX512BF16__)
static double dot_bf16(int thread, int threads) {
    (void)thread, (void)threads;
    __m512 a[CHAINS];
    __m512bh x, y;
    short v[32];
    for (int i = 0; i < 32; i++) v[i] = 0x3c00;
    memcpy(&x, v, 64), memcpy(&y, v, 64);
    for (int i = 0; i < CHAINS; i++) a[i] = _mm512_set1_ps(i);
    for (long t = 0; t < ITERATIONS; t++) {
#pragma GCC unroll 12
        for (int i = 0; i < CHAINS; i++) {
            a[i] = _mm512_dpbf16_ps(a[i], x, y);
            __asm__ volatile("" ::"v"(a[i])); /* every product is done, not only the last */
        }
    }
    for (int i = 1; i < CHAINS; i++) a[0] = _mm512_add_ps(a[0], a[i]);
    sink = _mm512_reduce_add_ps(a[0]);
    return 2.0 * ITERATIONS * CHAINS * 32;
}
#endif

#if defined(__AVX512VNNI__)
static double dot_int8(int thread, int threads) {
    (void)thread, (void)threads;
    __m512i a[CHAINS], x = _mm512_set1_epi8(1), y = _mm512_set1_epi8(-1);
    for (int i = 0; i < CHAINS; i++) a[i] = _mm512_set1_epi32(i);
    for (long t = 0; t < ITERATIONS; t++) {
#pragma GCC unroll 12
        for (int i = 0; i < CHAINS; i++) {
            a[i] = _mm512_dpbusd_epi32(a[i], x, y);
            __asm__ volatile("" ::"v"(a[i])); /* every product is done, not only the last */
        }
    }
    for (int i = 1; i < CHAINS; i++) a[0] = _mm512_add_epi32(a[0], a[i]);
    sink = (float)_mm512_reduce_add_epi32(a[0]);
    return 2.0 * ITERATIONS * CHAINS * 64;
}
#endif

static double read_memory(int thread, int threads) {
    long vectors = MEMORY_BYTES / WIDTH / threads / 4 * 4;
    const Vector *m = (const Vector *)memory + thread * vectors;
    Vector a = m[0], b = a, c = a, d = a;
    for (long i = 0; i < vectors; i += 4) a += m[i], b += m[i + 1], c += m[i + 2], d += m[i + 3];
    a += b + c + d;
    sink = a[0];
    return (double)vectors * WIDTH;
}

typedef struct {
    Kernel kernel;
    int thread, threads;
    double done;
} Share;

static void *work(void *argument) {
    Share *share = argument;
    share->done = share->kernel(share->thread, share->threads);
    return NULL;
}

static double rate(Kernel kernel, int threads) {
    pthread_t ids[MOST_THREADS];
    Share shares[MOST_THREADS];
    double done = 0, start = now();
    for (int i = 0; i < threads; i++) {
        shares[i] = (Share){kernel, i, threads, 0};
        pthread_create(&ids[i], NULL, work, &shares[i]);
    }
    for (int i = 0; i < threads; i++) pthread_join(ids[i], NULL), done += shares[i].done;
    return done / (now() - start) / 1e9;
}

static void measure(const char *name, Kernel kernel, int threads) {
    double best = 0, worst = 1e30;
    for (int s = 0; s < SAMPLES; s++) {
        double r = rate(kernel, threads);
        best = r > best ? r : best, worst = r < worst ? r : worst;
    }
    printf("{\"limit\": \"%s\", \"threads\": %d, \"best\": %.1f, \"worst\": %.1f}\n", name, threads, best, worst);
    fflush(stdout);
}

int main(int argc, char **argv) {
    int threads = argc > 1 ? atoi(argv[1]) : 1;
    if (threads < 1 || threads > MOST_THREADS) return 2;
    memory = aligned_alloc(64, MEMORY_BYTES);
    if (!memory) return 1;
    memset(memory, 0, MEMORY_BYTES);
    measure("fma_f32", fma_f32, threads);
#if defined(__AVX512BF16__)
    measure("dot_bf16", dot_bf16, threads);
#endif
#if defined(__AVX512VNNI__)
    measure("dot_int8", dot_int8, threads);
#endif
    measure("read_memory", read_memory, threads);
    free(memory);
    return 0;
}
