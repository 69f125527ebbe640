"""Random graphs: the plan against one that merges, moves and reuses nothing; and planners broken on purpose, which must fail.

Programs run on NumPy functions (`toy.py`), members one after another in either order, in a poisoned arena.
"""
import functools

import numpy as np
import pytest
from graph import toy
from graph.broken import plain, planner

from dlcore.graph import plan

COUNT = 150
LEAVES = {"x": (6, 4), "w": (6, 4), "v": (6, 4), "square": (4, 4)}


def build(seed):
    """(graph, outputs, loss, tensors to differentiate by) with sums, views, fan-out, updates in place and reuse at random."""
    r, g = np.random.default_rng(seed), toy.graph()
    pool = [g.input("x", 6, 4), g.weight("w", 6, 4), g.weight("v", 6, 4)]
    square = g.weight("square", 4, 4)

    def joined_then_negated(t, other):
        both = g.concat([t, other])
        return toy.add(both[:6], toy.negative(t))

    def twice(t, other):
        return g.sum([t, other, t])
    for _ in range(r.integers(3, 14)):
        a, b = (pool[n] for n in r.integers(0, len(pool), 2))
        fresh = a if (a.base or a).buffer != "weights" else toy.scale(a, 0.3)
        pool.append([
            lambda: toy.add(a, b), lambda: toy.mul(a, b), lambda: toy.tanh(a), lambda: toy.scale(a, 0.7),
            lambda: g.concat([a[:2], b[2:]]), lambda: g.concat([toy.tanh(a)[3:], b[:3]]), lambda: toy.matmul(a, square),
            lambda: toy.matmul(b, square, "nt"), lambda: toy.add(a, a), lambda: a.reshape(4, 6).reshape(6, 4),
            lambda: toy.negative(fresh), lambda: toy.plain_tanh(a), lambda: toy.double_and_half(a)[0],
            lambda: toy.add(*toy.double_and_half(a)), lambda: twice(toy.scale(a, 0.5), b), lambda: g.concat([a, b])[3:9],
            lambda: g.sum([a, toy.scale(b, 0.2), toy.tanh(a)]), lambda: joined_then_negated(toy.scale(a, 0.4), b),
            lambda: g.sum([toy.scale(a, 0.2), b])][r.integers(19)]())
    wanted = [*pool[:3], square]
    parts = [toy.row_sum(g.sum([toy.mul(t, t) for t in pool[-3:]])), toy.row_sum(g.concat([square, square[:2]]))]
    if seed % 2:
        parts.append(toy.row_sum(g.sum([toy.scale(t, 0.1) for t in wanted[:3]])))
    else:                   # one gradient for three weights
        parts.append(toy.row_sum(toy.add(toy.add(pool[0], pool[1]), pool[2])))
    loss = g.sum(parts)
    kept = {f"kept{n}": pool[n] for n in set(r.integers(3, len(pool), 2).tolist())}
    return g, {"loss": loss, **kept}, loss, wanted


def planned(make, seed):
    graph, outputs, loss, wanted = build(seed)
    return make(graph, outputs, gradients={loss: wanted}, table=toy.TABLE)


def filled(program, seed):
    machine, r = toy.Machine(program), np.random.default_rng(seed)
    for name, shape in LEAVES.items():
        machine[name][...] = r.standard_normal(shape) * 0.5
    return machine


def results(program, seed, members=1, backwards=False):
    """Outputs and gradients after two micro-batches."""
    machine = filled(program, seed)
    for accumulate in (False, True):
        machine.run("forward", "backward", members=members, backwards=backwards, accumulate=accumulate)
    return np.concatenate([machine.gradient(n).ravel() for n in LEAVES if n != "x"]
                          + [machine[n].ravel() for n in sorted(program.outputs)])


@functools.cache
def wanted_results(seed):
    want = results(planned(oracle(), seed), seed)
    assert np.isfinite(want).all()
    return want


@functools.cache
def oracle():
    return plain()


def worst(make, seeds):
    """The greatest relative distance from the plain plan's results."""
    found = 0.0
    for seed in seeds:
        want = wanted_results(seed)
        program = planned(make, seed)
        for members, backwards in ((1, False), (3, True)):
            got = results(program, seed, members, backwards)
            found = max(found, np.nan_to_num(np.abs(got - want), nan=np.inf).max() / np.abs(want).max())
    return found


def test_plans_equal_the_plain_plan():
    assert worst(plan, range(COUNT)) < 1e-12


def test_merging_saves_most_copies():
    copies, left = 0, 0
    for seed in range(40):
        copies += sum(s.kernel == "accumulate" for s in planned(oracle(), seed).steps)
        left += sum(s.kernel == "accumulate" for s in planned(plan, seed).steps)
    assert left < 0.45 * copies


@pytest.mark.parametrize("seed", range(12))
def test_gradients_are_those_of_the_loss(seed):
    """Central differences along one random direction of each leaf."""
    machine = filled(planned(plan, seed), seed)
    machine.run("forward", "backward")
    r = np.random.default_rng(seed + 1000)
    got = {n: (machine["d x"] if n == "x" else machine.gradient(n)).copy() for n in LEAVES}
    for name, shape in LEAVES.items():
        direction, keep, values = r.standard_normal(shape), machine[name].copy(), []
        for sign in (1, -1):
            machine[name][...] = keep + sign * 1e-5 * direction
            machine.run("forward")
            values.append(machine["loss"].sum())
        machine[name][...] = keep
        want = (values[0] - values[1]) / 2e-5
        assert abs((got[name] * direction).sum() - want) <= 1e-6 * max(1.0, abs(want)), name


BROKEN = {
    "no barriers": dict(schedule=[("    return level\n", "    return array(\"q\", [0]) * (end - begin)\n")]),
    "lives end one group early": dict(layout=[("    count = len(size)\n    if count > MANY:",
                                              "    end = array(\"q\", [max(s, e - 1) for s, e in zip(start, end)])\n"
                                              "    count = len(size)\n    if count > MANY:")]),
    "a total grows while its first part is still read": dict(sums=[("grows == END or life.end() < grows", "True")]),
    "outputs may grow": dict(memory=[("        if self.kept:\n            return END\n", "")]),
    "every writer overwrites": dict(sums=[("            self.add.add((id(call), name))\n", "            pass\n")]),
    "what is read is added to elsewhere": dict(sums=[(
        "        return life.writes == 1 and life.plain == 0 and life.reads == 0 and not life.kept and not life.pending",
        "        return life.writes == 1 and life.plain == 0")]),
    "a part that occurs twice is merged": dict(sums=[("times[r] = times.get(r, 0) + 1", "times[r] = 1")]),
    "gaps are not cleared": dict(sums=[("    return \"disjoint\" if at == total.size else \"\"", "    return \"disjoint\""),
                                       ("        if offset != at:\n            return \"\"\n", "")]),
    "gradients that are read lie in their buffer": dict(sums=[(
        "            return life.reads == 0 and life.plain == 0 and not life.kept and not life.pending\n",
        "            return True\n")]),
    "updates in place never copy": dict(sums=[("        if memory.lives[id(r)].end() > position:", "        if False:")]),
    "old versions are merged": dict(sums=[("return latest is None or latest is memory.version(t)", "return True")]),
    "micro-batches overwrite": dict(planner=[("else 2 if lies else 0", "else 0")]),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_broken_planners_are_noticed(fault):
    broken = planner(**BROKEN[fault])
    for seed in range(COUNT):
        try:
            if worst(broken, [seed]) > 1e-9:
                return
        except (ValueError, FloatingPointError, AssertionError):
            return
    pytest.fail(f"nothing fails although {fault}")
