/* The team without Python: programs of 40 groups on 4 members, awake and asleep, against the same work done alone.
   The tests build it for the thread sanitizer, and for aarch64. */
#include <stdio.h>
#include <string.h>

#include "cpu.h"
#include "execute.h"

enum { SIZE = 10000, GROUPS = 40, MEMBERS = 4, RUNS = 40 };

static void add(int64_t begin, int64_t end, const int64_t *dims, void **pointers, const Scalar *scalars) {
  float *x = pointers[0];
  for (int64_t i = begin; i < end; i++) x[i] += scalars[0].f32 * (float)(i + dims[0]);
}

int main(void) {
  static float shared[SIZE], alone[SIZE];
  static Call calls[2][GROUPS];
  static Item items[MEMBERS][2 * GROUPS];
  static int starts[MEMBERS][GROUPS + 1];
  const int64_t dims[1] = {1};
  const Scalar half = {.f32 = 0.5f};
  void *pointers[2][1] = {{shared}, {alone}};
  Group groups[GROUPS];
  Item *item[MEMBERS];
  int *start[MEMBERS];
  for (int g = 0; g < GROUPS; g++) {
    for (int which = 0; which < 2; which++) calls[which][g] = (Call){add, SIZE, dims, pointers[which], &half};
    groups[g] = (Group){g, g + 1, 1e5};
  }
  for (int m = 0; m < MEMBERS; m++) {
    int n = 0;
    item[m] = items[m], start[m] = starts[m];
    for (int g = 0; g < GROUPS; g++) {
      starts[m][g] = n;
      if (g) items[m][n++] = (Item){0, 0, -1};
      items[m][n++] = (Item){SIZE * m / MEMBERS, SIZE * (m + 1) / MEMBERS, g};
    }
    starts[m][GROUPS] = n;
  }
  const Schedule schedule = {MEMBERS, groups, item, start};
  Job job = {.calls = calls[0], .schedule = &schedule, .ranges = 2, .first = {0, GROUPS / 2}, .last = {GROUPS / 2, GROUPS},
             .ns = 1e7};
  Job other = job;
  other.calls = calls[1];
  if (team_setup()) return 1;
  int most = 0;
  for (int run = 0; run < RUNS; run++) {
    job.forced = run % 2;
    if (run % 8 > 5) usleep(1000); /* they fall asleep, and come in the middle of a run or too late */
    int members = run_job(&job);
    if (members > most) most = members;
    run_alone(&other);
    if (memcmp(shared, alone, sizeof shared)) return 2;
  }
  int level = cpu_reported();
  printf("%d members, level %s\n", most, level == CPU_AARCH64 ? "aarch64" : level ? "x86-64" : "none");
  return level && !cpu_probe(level);
}
