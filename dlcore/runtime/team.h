/* A team of threads that stays alive between runs.

   The thread that calls `team_enter` is the owner and works as member 0; the others are made when they are first needed
   and then live as long as the process.  Waiting for work is: spin for some 50 us, then sleep on a futex, so an idle or
   crowded machine loses nothing; inside a run a member stays awake longer (`word_reaches`).  There is no OpenMP: a second
   OpenMP runtime in one process crashes, and libgomp deadlocks after a fork.

   One team per process, one owner at a time: `team_try` fails when somebody else runs, and the caller then works alone.
   After a fork the child has no team; it makes its own when it needs one.

   A member is a small state machine, driven through one word of its own:
     IDLE     waits for something to do
     INVITED  was asleep and is being woken; the owner works on alone meanwhile
     JOINED   is awake and waits for the owner to reach the end of a group
     RUN      works on the job, then returns to IDLE
   The owner may take an invitation back (INVITED or JOINED -> IDLE) when the work ends before the sleeper has come. */
#pragma once
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define TEAM_MAX 256
#define TEAM_ROUNDS 8    /* log2 of it */
#define TEAM_LINE 128 /* two cache lines: the prefetcher of x86 fetches pairs, some aarch64 lines are that long */
#define TEAM_SPIN_NS 50000
#define TEAM_AWAKE_NS 2000000 /* of a wait inside a run */
#define TEAM_EAGER 64    /* polls before the first `pause`, which takes as long as a cache line needs to come over */

enum { IDLE, INVITED, JOINED, RUN };

/* A futex word on a cache line of its own, with the number of threads that sleep on it. */
typedef struct {
  _Alignas(TEAM_LINE) atomic_int value;
  atomic_int sleepers;
} Word;

typedef void (*TeamBody)(void *job, int member);

typedef struct {
  Word state[TEAM_MAX];               /* of each member; the owner's, [0], is unused */
  Word flag[TEAM_MAX][TEAM_ROUNDS];   /* the last barrier that a member reached, for each round of a barrier */
  Word finished;                      /* how many members are through with the run */
  _Alignas(TEAM_LINE) atomic_int owned;
  int threads;                        /* made so far, the owner not counted */
  int members;                        /* of this run */
  int epoch;                          /* the last barrier of the last run */
  int spins;                          /* polls that take TEAM_SPIN_NS */
  int64_t last_end;                   /* when the last run ended, ns */
  unsigned generation;                /* + 1 in the child of a fork */
  TeamBody body;
  void *job;
} Team;

static Team team;

static inline void team_relax(void) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("isb" ::: "memory");
#else
  __asm__ volatile("" ::: "memory");
#endif
}

static inline int64_t team_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Returns once the word differs from `seen`. */
static void word_wait(Word *word, int seen) {
  for (int i = 0; i < team.spins; i++) {
    if (atomic_load_explicit(&word->value, memory_order_acquire) != seen) return;
    if (i > TEAM_EAGER) team_relax();
  }
  atomic_fetch_add(&word->sleepers, 1);
  while (atomic_load(&word->value) == seen) syscall(SYS_futex, &word->value, FUTEX_WAIT_PRIVATE, seen, 0, 0, 0);
  atomic_fetch_sub(&word->sleepers, 1);
}

/* After a sequentially consistent change of the word: a sleeper either sees the change or is counted here. */
static inline void word_wake(Word *word) {
  if (atomic_load(&word->sleepers)) syscall(SYS_futex, &word->value, FUTEX_WAKE_PRIVATE, INT32_MAX, 0, 0, 0);
}

static inline void word_set(Word *word, int value) {
  atomic_exchange(&word->value, value);
  word_wake(word);
}

/* Waits, awake, until the word has come to `value`; 0 where that takes longer than TEAM_AWAKE_NS.

   Who waits for a member that works spins, then lets others have the processor, and sleeps late: waking takes tens of
   microseconds, and on a virtual machine whose host is busy a halted processor may not come back for milliseconds; the
   waker would meanwhile fall asleep itself, and each barrier after that would cost as much. */
static int word_reaches(Word *word, int value) {
  for (int i = 0; i < team.spins; i++) {
    if (atomic_load_explicit(&word->value, memory_order_acquire) - value >= 0) return 1;
    if (i > TEAM_EAGER) team_relax();
  }
  for (int64_t until = team_now() + TEAM_AWAKE_NS; team_now() < until; sched_yield())
    if (atomic_load_explicit(&word->value, memory_order_acquire) - value >= 0) return 1;
  return 0;
}

/* Returns once the flag has come to `epoch`.  Sleep is limited: see `team_barrier`. */
static void flag_wait(Word *flag, int epoch) {
  const struct timespec nap = {0, 200000};
  int now = 0;
  if (word_reaches(flag, epoch)) return;
  atomic_fetch_add(&flag->sleepers, 1);
  while ((now = atomic_load(&flag->value)) - epoch < 0)
    syscall(SYS_futex, &flag->value, FUTEX_WAIT_PRIVATE, now, &nap, 0, 0);
  atomic_fetch_sub(&flag->sleepers, 1);
}

/* All members of the run meet here; `epoch` is one more at each barrier, for every member alike.

   Dissemination: in round r a member tells the one 2^r further on that it has come, and hears from the one 2^r before;
   two members need one round, and no counter goes to and fro.  Telling is a plain store, without the fence that would
   make sure of seeing a member that falls asleep at this very moment (it costs as much as the rest of the barrier); such
   a member wakes by itself after 0.2 ms. */
static inline void team_barrier(int member, int epoch) {
  int members = team.members;
  for (int round = 0, far = 1; far < members; round++, far *= 2) {
    Word *mine = &team.flag[member][round];
    int from = member - far < 0 ? member - far + members : member - far;
    atomic_store_explicit(&mine->value, epoch, memory_order_release);
    if (atomic_load_explicit(&mine->sleepers, memory_order_relaxed))
      syscall(SYS_futex, &mine->value, FUTEX_WAKE_PRIVATE, INT32_MAX, 0, 0, 0);
    flag_wait(&team.flag[from][round], epoch);
  }
}

static void *team_member(void *number) {
  int member = (int)(intptr_t)number;
  Word *state = &team.state[member];
  for (;;) {
    int now = atomic_load_explicit(&state->value, memory_order_acquire);
    if (now == RUN) {
      team.body(team.job, member);
      atomic_store_explicit(&state->value, IDLE, memory_order_relaxed);
      atomic_fetch_add(&team.finished.value, 1);
      word_wake(&team.finished);
    } else if (now == INVITED) {
      atomic_compare_exchange_strong(&state->value, &now, JOINED);
    } else {
      word_wait(state, now);
    }
  }
  return 0;
}

/* How many polls last TEAM_SPIN_NS: `pause` takes from 5 to 60 ns, by the make of the processor. */
static int team_calibrate(void) {
  int64_t best = INT64_MAX;
  for (int round = 0; round < 5; round++) {
    int64_t start = team_now();
    for (int i = 0; i < 200; i++) {
      (void)atomic_load_explicit(&team.finished.value, memory_order_acquire);
      team_relax();
    }
    int64_t took = team_now() - start;
    if (took < best) best = took;
  }
  int64_t spins = 200 * (int64_t)TEAM_SPIN_NS / (best > 0 ? best : 1);
  return spins < 100 ? 100 : spins > 1000000 ? 1000000 : (int)spins;
}

static void word_forget(Word *word) {
  atomic_store(&word->value, 0);
  atomic_store(&word->sleepers, 0);
}

/* Runs in the child of a fork, where no thread but the caller is left. */
static void team_forget(void) {
  for (int i = 0; i <= team.threads; i++) {
    word_forget(&team.state[i]);
    for (int round = 0; round < TEAM_ROUNDS; round++) word_forget(&team.flag[i][round]);
  }
  word_forget(&team.finished);
  team.threads = team.epoch = 0;
  team.last_end = 0;
  team.generation++;
  atomic_store(&team.owned, 0);
}

/* Once per process, when the module is imported. */
static int team_setup(void) {
  team.spins = team_calibrate();
  return pthread_atfork(0, 0, team_forget);
}

static int team_try(void) { return atomic_exchange(&team.owned, 1) == 0; }
static void team_leave(void) { atomic_store_explicit(&team.owned, 0, memory_order_release); }

/* Makes threads until the team, owner included, has `members`; 0 where the system refuses.  The owner calls it. */
static int team_grow(int members) {
  sigset_t all, before;
  if (members > TEAM_MAX) return 0;
  if (team.threads >= members - 1) return 1;
  sigfillset(&all); /* signals are the host program's business */
  pthread_sigmask(SIG_SETMASK, &all, &before);
  while (team.threads < members - 1) {
    pthread_t thread;
    if (pthread_create(&thread, 0, team_member, (void *)(intptr_t)(team.threads + 1))) break;
    pthread_detach(thread);
    team.threads++;
  }
  pthread_sigmask(SIG_SETMASK, &before, 0);
  return team.threads >= members - 1;
}

/* Whether every other member is awake and idle, so that a run can start at once. */
static int team_awake(int members) {
  for (int i = 1; i < members; i++)
    if (atomic_load_explicit(&team.state[i].sleepers, memory_order_relaxed)) return 0;
  return 1;
}

static void team_prepare(TeamBody body, void *job, int members) {
  team.body = body;
  team.job = job;
  team.members = members;
  atomic_store_explicit(&team.finished.value, 0, memory_order_relaxed);
}

static void team_invite(int members) {
  for (int i = 1; i < members; i++) word_set(&team.state[i], INVITED);
}

static int team_joined(int members) {
  for (int i = 1; i < members; i++)
    if (atomic_load_explicit(&team.state[i].value, memory_order_acquire) != JOINED) return 0;
  return 1;
}

static void team_dismiss(int members) {
  for (int i = 1; i < members; i++) word_set(&team.state[i], IDLE);
}

/* The owner works as member 0 and returns when all have finished. */
static void team_go(int members) {
  int done;
  for (int i = 1; i < members; i++) word_set(&team.state[i], RUN);
  team.body(team.job, 0);
  if (word_reaches(&team.finished, members - 1)) return;
  while ((done = atomic_load_explicit(&team.finished.value, memory_order_acquire)) < members - 1)
    word_wait(&team.finished, done);
}
