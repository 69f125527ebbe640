/* Runs a program: a flat list of kernel calls with every address resolved, alone or by a team. */
#pragma once
#include "team.h"

typedef union { float f32; double f64; int64_t i64; } Scalar;

typedef void (*Entry)(int64_t begin, int64_t end, const int64_t *dims, void **pointers, const Scalar *scalars);

typedef struct {
  Entry entry;
  int64_t extent;
  const int64_t *dims;
  void **pointers;
  const Scalar *scalars;
} Call;

/* What one member does: items `begin..end` of a call, or, where `call` is -1, wait for the others. */
typedef struct { int64_t begin, end, call; } Item;

/* Calls `first..last` need nothing of each other; `ns` is what they are expected to take on one thread. */
typedef struct { int first, last; double ns; } Group;

/* How the groups are shared by a number of members; it holds no addresses, so every instance of a program uses it.
   Member m's part of group g is items[m][starts[m][g]] to items[m][starts[m][g + 1]]. */
typedef struct {
  int members;
  Group *groups;
  Item **items;
  int **starts;
} Schedule;

#define SEGMENTS_MAX 8

/* One run: ranges of groups, a segment each.  The team starts at group `group` of range `range`. */
typedef struct {
  const Call *calls;
  const Schedule *schedule;
  int ranges;
  int first[SEGMENTS_MAX], last[SEGMENTS_MAX];
  int range, group;
  int epoch;        /* of the last barrier, when member 0 is through */
  int forced;       /* so many members and no fewer, whatever it costs */
  double ns;        /* expected on one thread */
  int64_t *stamps;  /* where member 0 notes the time before each group, or NULL */
} Job;

enum { WAKE_NS = 100000, BUSY_NS = 1000000 };

/* Kernels see one floating-point environment whoever calls, so that bits depend on neither thread nor host program:
   round to nearest, no traps, and subnormal numbers count as zero (on many processors they are a hundred times slower,
   and moments of dead units decay into them and stay). */
static inline uint64_t float_enter(void) {
#if defined(__x86_64__)
  unsigned before;
  const unsigned wanted = 0x9fc0; /* all traps masked, FTZ, DAZ */
  __asm__ volatile("stmxcsr %0" : "=m"(before));
  if (before != wanted) __asm__ volatile("ldmxcsr %0" : : "m"(wanted));
  return before;
#elif defined(__aarch64__)
  uint64_t before, wanted = UINT64_C(1) << 24;
  __asm__ volatile("mrs %0, fpcr" : "=r"(before));
  if (before != wanted) __asm__ volatile("msr fpcr, %0" : : "r"(wanted));
  return before;
#else
  return 0;
#endif
}

static inline void float_leave(uint64_t before) {
#if defined(__x86_64__)
  unsigned value = (unsigned)before;
  __asm__ volatile("ldmxcsr %0" : : "m"(value));
#elif defined(__aarch64__)
  __asm__ volatile("msr fpcr, %0" : : "r"(before));
#else
  (void)before;
#endif
}

static inline void run_call(const Call *c, int64_t begin, int64_t end) {
  c->entry(begin, end, c->dims, c->pointers, c->scalars);
}

static void run_member(void *pointer, int member) {
  Job *job = (Job *)pointer;
  const Schedule *schedule = job->schedule;
  const Item *items = schedule->items[member];
  const int *starts = schedule->starts[member];
  int64_t *stamps = member ? 0 : job->stamps;
  int epoch = team.epoch;
  uint64_t before = float_enter();
  for (int r = job->range; r < job->ranges; r++) {
    int first = r == job->range ? job->group : job->first[r];
    if (r > job->range) team_barrier(member, ++epoch);
    if (first == job->last[r]) continue;
    const Item *item = items + starts[first], *end = items + starts[job->last[r]];
    if (starts[first] < starts[first + 1] && item->call < 0) item++; /* the group's own barrier: nothing ran before it */
    if (stamps) *stamps++ = team_now();
    for (; item < end; item++) {
      if (item->call >= 0) {
        run_call(&job->calls[item->call], item->begin, item->end);
      } else {
        team_barrier(member, ++epoch);
        if (stamps) *stamps++ = team_now();
      }
    }
  }
  float_leave(before);
  if (member == 0) job->epoch = epoch;
}

static void run_group(const Job *job, int g) {
  const Group *group = &job->schedule->groups[g];
  for (int c = group->first; c < group->last; c++)
    if (job->calls[c].extent > 0) run_call(&job->calls[c], 0, job->calls[c].extent);
}

static void run_alone(const Job *job) {
  uint64_t before = float_enter();
  int64_t *stamps = job->stamps;
  for (int r = job->range; r < job->ranges; r++)
    for (int g = r == job->range ? job->group : job->first[r]; g < job->last[r]; g++) {
      if (stamps) *stamps++ = team_now();
      run_group(job, g);
    }
  float_leave(before);
}

/* Whether all have come; a group that takes long is worth waiting for, at most half the time it would take alone. */
static int run_wait(const Job *job, double ns) {
  int members = job->schedule->members;
  if (team_joined(members)) return 1;
  if (!job->forced && ns < WAKE_NS) return 0;
  int64_t until = team_now() + (int64_t)(ns / 2);
  while (job->forced || team_now() < until) {
    if (team_joined(members)) return 1;
    if (job->forced) sched_yield();
    else team_relax();
  }
  return 0;
}

/* The owner works alone until the sleepers have come, and takes the invitation back if they come too late. */
static void run_until_joined(Job *job) {
  int members = job->schedule->members;
  uint64_t before = float_enter();
  team_invite(members);
  for (; job->range < job->ranges; job->range++, job->group = job->range < job->ranges ? job->first[job->range] : 0)
    for (; job->group < job->last[job->range]; job->group++) {
      if (run_wait(job, job->schedule->groups[job->group].ns)) {
        float_leave(before);
        team_go(members);
        return;
      }
      run_group(job, job->group);
    }
  team_dismiss(members);
  float_leave(before);
}

/* Returns how many members worked. */
static int run_job(Job *job) {
  int members = job->schedule->members;
  job->range = 0;
  job->group = job->ranges ? job->first[0] : 0;
  if (members < 2 || !team_try()) {
    run_alone(job);
    return 1;
  }
  if (!team_grow(members)) {
    team_leave();
    run_alone(job);
    return 1;
  }
  team_prepare(run_member, job, members);
  job->epoch = team.epoch;
  if (team_awake(members)) team_go(members);
  else if (job->forced || job->ns > WAKE_NS || team_now() - team.last_end < BUSY_NS) run_until_joined(job);
  else run_alone(job), members = 1; /* a short run after a pause is over before anybody has woken up */
  team.epoch = job->epoch;
  team.last_end = team_now();
  team_leave();
  return members;
}
