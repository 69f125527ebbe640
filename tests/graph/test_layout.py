"""The arena and the groups, against what they must satisfy."""
from array import array

import numpy as np
import pytest

from dlcore.graph import layout, schedule


def lives(seed, count, groups=60):
    r = np.random.default_rng(seed)
    start = r.integers(0, groups, count)
    end = np.minimum(groups - 1, start + r.integers(0, 20, count))
    size = 64 * r.integers(1, 50, count)
    return [array("q", a.tolist()) for a in (start, end, size)]


def nested(count):
    """An unrolled net: what forward keeps lives until its backward; a short life at every step."""
    start, end = [], []
    for n in range(count):
        start += [n, n]
        end += [2 * count - n, n + 1]
    return array("q", start), array("q", end), array("q", [64 * (1 + n % 5) for n in range(2 * count)])


def assert_apart(start, end, size, at):
    for n in range(len(size)):
        for m in range(n):
            if start[n] <= end[m] and start[m] <= end[n]:
                assert at[n] + size[n] <= at[m] or at[m] + size[m] <= at[n], (n, m)
    assert all(a % 64 == 0 for a in at)


@pytest.mark.parametrize("count", [0, 1, 2, 30, 150, 400])
def test_what_lives_together_lies_apart(count):
    start, end, size = lives(count, count)
    bound = layout.alive(start, end, size)
    at, height = layout.arrange(start, end, size, bound)
    assert_apart(start, end, size, at)
    assert height == max([a + s for a, s in zip(at, size)], default=0)
    assert bound <= height <= 1.2 * bound
    assert list(layout.arrange(start, end, size, bound)[0]) == list(at)


def test_the_bound_is_the_largest_sum_alive():
    start, end, size = lives(3, 50)
    assert layout.alive(start, end, size) == max(sum(s for a, b, s in zip(start, end, size) if a <= t <= b) for t in range(60))


@pytest.mark.parametrize("make", [lambda: lives(1, 300), lambda: nested(150)])
def test_in_time(make):
    start, end, size = make()
    at, height = layout.in_time(start, end, size)
    assert_apart(start, end, size, at)
    assert height == max(a + s for a, s in zip(at, size))


def test_many_lives_are_laid_out_near_the_bound():
    start, end, size = nested(3000)
    bound = layout.alive(start, end, size)
    assert layout.arrange(start, end, size, bound)[1] <= 1.2 * bound


def accesses(seed, calls):
    """Random calls on parts of a few memories: (Accesses, [(memory, start, stop, written)] per call)."""
    r, made, plain = np.random.default_rng(seed), schedule.Accesses(), []
    for _ in range(calls):
        mine = []
        for memory in r.choice(6, r.integers(1, 4), replace=False).tolist():
            start = int(r.integers(0, 8))
            mine.append((memory, start, int(r.integers(start + 1, 10)), bool(r.random() < 0.4)))
        for access in mine:
            made.add(*access)
        made.next()
        plain.append(mine)
    made.cut(6)
    return made, plain


def conflict(a, b):
    return any(m == k and s < y and x < t and (v or w) for m, s, t, v in a for k, x, y, w in b)


@pytest.mark.parametrize("seed", range(20))
def test_groups_keep_the_order_of_calls_that_meet(seed):
    made, plain = accesses(seed, 40)
    level = schedule.levels(made, 0, 40, schedule.NEAR)
    top = 0
    for n in range(40):
        before = [m for m in range(n) if conflict(plain[m], plain[n])]
        assert all(level[m] < level[n] for m in before)
        if before:                      # as early as dependencies and the limit allow
            earliest = max(max(0, top - schedule.NEAR), *[level[m] + 1 for m in before])
            assert level[n] <= earliest
            top = max(top, level[n])
        else:                           # just before its first reader
            after = [level[m] for m in range(n + 1, 40) if conflict(plain[n], plain[m])]
            assert not after or level[n] == min(after) - 1


def test_only_the_calls_of_a_segment_are_looked_at():
    made, plain = accesses(3, 30)
    level = schedule.levels(made, 10, 30, schedule.NEAR)
    assert len(level) == 20
    assert all(level[m - 10] < level[n - 10] for n in range(10, 30) for m in range(10, n) if conflict(plain[m], plain[n]))
