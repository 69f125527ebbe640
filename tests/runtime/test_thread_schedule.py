"""Shares: every item exactly once, no barrier missing, none that nobody needs."""
from __future__ import annotations

import itertools

import numpy as np
import pytest
from runtime.handmade import Builder, training

from dlcore.runtime.schedule import BARRIER_NS, arrange, candidates, share


@pytest.mark.parametrize(("extent", "grid", "parts"),
                         [(1, 1, 3), (10, 1, 3), (1000, 64, 7), (64, 64, 2), (65, 64, 2), (0, 64, 2)])
def test_parts_cover_the_extent_once_on_the_grid(extent, grid, parts):
    cuts = [share(extent, grid, n, parts) for n in range(parts)]
    assert cuts[0][0] == 0 and cuts[-1][1] == extent
    assert all(a[1] == b[0] and a[0] <= a[1] for a, b in itertools.pairwise(cuts))
    assert all(begin % grid == 0 or begin == extent for begin, _ in cuts)


def play(program, arrangement):
    """Items in order of time: rounds between barriers, each a list of (member, group, call, begin, end).  Between two
    segments of a run there is a barrier that no item shows."""
    rounds, later = [], {first for first, _ in arrangement.ranges.values()} - {0}
    for member in range(arrangement.members):
        at = 0
        for group, (begin, end) in enumerate(itertools.pairwise(arrangement.starts[member])):
            at += group in later
            for call, first, last in arrangement.items[member][begin:end]:
                at += call < 0
                while len(rounds) <= at:
                    rounds.append([])
                if call >= 0:
                    rounds[at].append((member, group, call, first, last))
    return rounds


@pytest.mark.parametrize("members", [1, 2, 3, 7])
@pytest.mark.parametrize("mode", ["cost", "forced", "single"])
@pytest.mark.parametrize("seed", range(4))
def test_random_programs_are_shared_completely_and_in_order(members, mode, seed):
    program = random_program(seed)
    costs = np.random.default_rng(seed).choice([100.0, 2e3, 5e4], len(program.steps)).tolist()
    made = arrange(program.steps, costs, members, mode == "forced", mode == "single")
    assert len({sum(call < 0 for call, _, _ in items) for items in made.items}) == 1, "all meet at the same barriers"
    rounds = play(program, made)
    done = np.zeros(len(program.steps), int)
    for items in rounds:
        by_group = {}
        for member, group, call, begin, end in items:
            by_group.setdefault(group, set()).add(member)
            done[call] += end - begin
            assert begin % program.steps[call].grid == 0
        alone = len(by_group) <= 1 or len(set.union(*by_group.values())) == 1
        assert alone, "two groups without a barrier, on two members"
    assert done.tolist() == [s.extent for s in program.steps]
    order = [group for items in rounds for group in sorted({g for _, g, *_ in items})]
    assert order == sorted(order)


def random_program(seed: int):
    rng, b = np.random.default_rng(seed), Builder()
    x = b.leaf("x", "inputs", 500)
    for segment in ("forward", "backward"):
        b.segment = segment
        for _ in range(15):
            size = int(rng.choice([7, 100, 500]))
            view = type(x)(x.buffer, x.offset, (size,))
            beside = bool(rng.random() < 0.4) and b.group >= 0
            b.call("affine", view, b.array("arena", size), scalars=(1.0, 0), beside=beside)
    return b.program()


def test_small_groups_stay_together_without_barriers():
    program = training()
    cheap = arrange(program.steps, [200.0] * 9, 2)
    assert sum(cheap.barriers.values()) == 0 and not cheap.items[1]


def test_a_dear_group_among_small_ones_is_shared():
    program = training(rows=400)
    costs = [200.0, 100_000.0, 200.0, 200.0, 200.0, 200.0, 200.0, 200.0, 200.0]
    made = arrange(program.steps, costs, 2)
    assert made.parts[:3] == [1, 2, 1] and made.barriers["forward"] == 2
    assert made.expected_ns["forward"] == pytest.approx(800 + 50_030 + 2 * BARRIER_NS, rel=1e-3)


def test_calls_that_cannot_be_split_are_spread():
    b = Builder()
    x = b.leaf("x", "inputs", 8)
    for n in range(4):
        b.call("affine", x, b.array("arena", 8), scalars=(1.0, 0), beside=n > 0)
    made = arrange(b.program().steps, [40_000.0, 10_000.0, 10_000.0, 20_000.0], 2)
    assert [[call for call, _, _ in items] for items in made.items] == [[0], [3, 1, 2]]


def test_an_update_of_many_weights_is_cut_where_matrices_begin():
    """So that each member updates the rows that it reads in the products, and no lines that the other reads."""
    b = Builder()
    x, bias = b.leaf("x", "inputs", 4, 512), b.leaf("bias", "weights", 64)
    first, second = b.leaf("first", "weights", 512, 192), b.leaf("second", "weights", 512, 64)
    b.call("multiply", x, first, None, b.array("arena", 4, 192))
    b.call("multiply", x, second, None, b.array("arena", 4, 64))
    b.segment, whole = "update", type(x)("weights", 0, (64 + 512 * 256,))
    b.call("sgd", type(x)("gradients", 0, whole.shape), type(x)("status", 0, (1,), "i64"), whole, scalars=(0.1,))
    made = arrange(b.program().steps, [1e4, 1e4, 1e5], 2)
    at = [[(begin, end) for call, begin, end in items if call == 2] for items in made.items]
    begins = 64 + 512 * 192                     # where the second matrix begins; the bias goes with the first one
    assert at == [[(0, 49_152), (begins, begins + 256 * 64)], [(49_152, begins), (begins + 256 * 64, begins + 512 * 64)]]
    assert bias.shape == (64,)


def test_candidates_reach_the_limit():
    assert candidates(1) == [] and candidates(2) == [2] and candidates(5) == [2, 3, 4, 5] and candidates(16)[-1] == 16
