/* What this processor can do: cpuid and xgetbv on x86-64, and a probe that tries a level's instructions. */
#pragma once
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

enum { CPU_NONE, CPU_V2, CPU_V3, CPU_V4, CPU_V4_BF16, CPU_AARCH64 };

#if defined(__x86_64__)
static uint64_t cpu_xcr0(void) {
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (uint64_t)high << 32 | low;
}
#endif

#define CPU_ALL(word, bits) (((word) & (bits)) == (bits))

/* The highest level that the processor and the operating system report. */
static int cpu_reported(void) {
#if defined(__x86_64__)
  unsigned a, b, c1, d, b7 = 0, c7 = 0, a71 = 0, c81 = 0, most;
  if (!__get_cpuid(1, &a, &b, &c1, &d)) return CPU_NONE;
  if (__get_cpuid_count(7, 0, &most, &b7, &c7, &d) && most >= 1) __get_cpuid_count(7, 1, &a71, &b, &a, &d);
  __get_cpuid(0x80000001, &a, &b, &c81, &d);
  const unsigned v2 = bit_SSE3 | bit_SSSE3 | bit_CMPXCHG16B | bit_SSE4_1 | bit_SSE4_2 | bit_POPCNT;
  const unsigned v3 = bit_FMA | bit_MOVBE | bit_AVX | bit_F16C | bit_OSXSAVE;
  const unsigned v3_7 = bit_AVX2 | bit_BMI | bit_BMI2;
  const unsigned v4_7 = bit_AVX512F | bit_AVX512DQ | bit_AVX512CD | bit_AVX512BW | bit_AVX512VL;
  if (!CPU_ALL(c1, v2)) return CPU_NONE;
  if (!CPU_ALL(c1, v3) || !CPU_ALL(b7, v3_7) || !CPU_ALL(c81, 1u << 5) || !CPU_ALL(cpu_xcr0(), 0x6)) return CPU_V2;
  if (!CPU_ALL(b7, v4_7) || !CPU_ALL(cpu_xcr0(), 0xe6)) return CPU_V3;
  return CPU_ALL(a71, 1u << 5) && CPU_ALL(c7, 1u << 11) ? CPU_V4_BF16 : CPU_V4;
#elif defined(__aarch64__)
  const unsigned long wanted = 1ul << 1 | 1ul << 8 | 1ul << 20; /* ASIMD, atomics (LSE), dot products */
  return CPU_ALL(getauxval(AT_HWCAP), wanted) ? CPU_AARCH64 : CPU_NONE;
#else
  return CPU_NONE;
#endif
}

static sigjmp_buf cpu_return;
static void cpu_refused(int signal_number) { (void)signal_number; siglongjmp(cpu_return, 1); }

/* Some instructions of a level, none of which writes memory. */
static void cpu_try(int level) {
#if defined(__x86_64__)
  if (level == CPU_V2)
    __asm__ volatile("pshufb %%xmm0, %%xmm0\n ptest %%xmm0, %%xmm0\n popcnt %%rax, %%rax" ::: "rax", "xmm0", "cc");
  if (level == CPU_V3)
    __asm__ volatile("vpermq $0, %%ymm0, %%ymm0\n vfmadd231ps %%ymm0, %%ymm0, %%ymm0\n vcvtph2ps %%xmm0, %%ymm0\n"
                     "andn %%rax, %%rax, %%rax\n shlx %%rax, %%rax, %%rax\n vzeroupper" ::: "rax", "xmm0", "cc");
  if (level >= CPU_V4)
    __asm__ volatile("vaddps %%zmm0, %%zmm0, %%zmm0\n vpaddb %%zmm0, %%zmm0, %%zmm0\n vpmullq %%zmm0, %%zmm0, %%zmm0\n"
                     "vpconflictd %%zmm0, %%zmm0\n vaddps %%ymm0, %%ymm0, %%ymm0%{%%k1%}\n vzeroupper" ::: "xmm0");
  if (level == CPU_V4_BF16)
    __asm__ volatile("vdpbf16ps %%zmm0, %%zmm0, %%zmm0\n vcvtneps2bf16 %%zmm0, %%ymm0\n vpdpbusd %%zmm0, %%zmm0, %%zmm0\n"
                     "vzeroupper" ::: "xmm0");
#else
  (void)level;
#endif
}

/* Whether a level's instructions execute, whatever cpuid says (hypervisors hide some that work).  The handler stands
   for some microseconds; the caller holds the GIL. */
static int cpu_probe(int level) {
  struct sigaction mine = {.sa_handler = cpu_refused, .sa_flags = SA_NODEFER}, before;
  volatile int works = 0;
#if defined(__x86_64__)
  if (level < CPU_V2 || level > CPU_V4_BF16) return 0;
#else
  return level == cpu_reported();
#endif
  sigemptyset(&mine.sa_mask);
  if (sigaction(SIGILL, &mine, &before)) return 0;
  if (!sigsetjmp(cpu_return, 1)) {
    cpu_try(level);
    works = 1;
  }
  sigaction(SIGILL, &before, 0);
  return works;
}
