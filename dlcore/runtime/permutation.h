/* A random order of 0 .. rows - 1: the bits of numpy.random.Generator(Philox(key=key)).permutation(rows).

   NumPy shuffles from the last element down (Fisher and Yates) and draws each place from the bits below the next power of
   two, until one is small enough: the processor guesses wrong a third of the time.  Here a draw that is too large swaps an
   element with itself and is not counted: the same order, without that branch. */
#ifndef DLCORE_PERMUTATION_H
#define DLCORE_PERMUTATION_H

#include <stdint.h>

/* Block number `count` of Philox 4x64-10 (Salmon et al., Parallel random numbers: as easy as 1, 2, 3, 2011). */
static void philox_block(uint64_t count, uint64_t k0, uint64_t k1, uint64_t *out) {
  uint64_t a = count, b = 0, c = 0, d = 0;
  for (int round = 0; round < 10; round++) {
    unsigned __int128 x = (unsigned __int128)0xD2E7470EE14C6C93u * a, y = (unsigned __int128)0xCA5A826395121157u * c;
    a = (uint64_t)(y >> 64) ^ b ^ k0;
    b = (uint64_t)y;
    c = (uint64_t)(x >> 64) ^ d ^ k1;
    d = (uint64_t)x;
    k0 += 0x9E3779B97F4A7C15u;
    k1 += 0xBB67AE8584CAA73Bu;
  }
  out[0] = a, out[1] = b, out[2] = c, out[3] = d;
}

static void permute(const uint64_t *key, int32_t *out, uint32_t rows) {
  uint64_t drawn[4];
  uint64_t blocks = 0;
  unsigned used = 8; /* halves of `drawn` */
  uint32_t last = rows ? rows - 1 : 0, mask = 1;
  for (uint32_t i = 0; i < rows; i++) out[i] = (int32_t)i;
  while (mask < last) mask = 2 * mask + 1;
  for (; last > 0; mask >>= 1)
    while (last > mask >> 1) {
      if (used == 8) philox_block(++blocks, key[0], key[1], drawn), used = 0;
      uint32_t place = (uint32_t)(drawn[used >> 1] >> 32 * (used & 1)) & mask, fits = place <= last;
      used++;
      place = fits ? place : last;
      int32_t moved = out[last];
      out[last] = out[place];
      out[place] = moved;
      last -= fits;
    }
}

#endif
