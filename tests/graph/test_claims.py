"""What graph and planner promise, on the kernels that ship: gradients against central differences in float64 (`wide`), equal bits
for every number of threads, two losses on the same buffers, norms per sample, instances that share weights, recomputation."""
import functools

import numpy as np
import pytest
from graph.models import adam, assert_equal_bits, classifier, directional_error, fill, free_leaves, mlp

from dlcore import ops
from dlcore.errors import NotDifferentiableError
from dlcore.graph import Graph, plan, recompute
from dlcore.runtime import allocate

SLOTS = {"loss_scale": 1.0}
DRAWN = {"loss_scale": 1.0, "seed": 3, "step": 1, "first_sample": 0}


# ---- an MLP with dropout and Adam --------------------------------------------------------------------------------------
def test_mlp_gradients(wide_kernels):
    graph, loss, weights = classifier((20, 17, 13, 5), 33, wide=True, rate=0.1)
    program = plan(graph, {"loss": loss}, {loss: weights})
    assert directional_error(program, [w.name for w in weights], DRAWN) < 1e-6


def test_mlp_bits():
    graph, loss, weights = classifier((784, 256, 128, 10), 64, rate=0.1)
    program = plan(graph, {"loss": loss}, {loss: weights}, updates=adam(graph, weights))
    assert program.arena <= 1.2 * program.bound
    assert_equal_bits(program, ("forward", "backward", "update"), **{**DRAWN, "loss_scale": 1 / 64, "lr": 1e-3})


def test_batches_of_another_size_train_the_same_weights():
    def build(batch):
        graph, loss, weights = classifier((30, 20, 5), batch)
        return plan(graph, {"loss": loss}, {loss: weights}, updates=adam(graph, weights)), [w.name for w in weights]
    (large, names), (small, _) = build(64), build(17)
    i = large.bind()
    j = small.bind({n: i.buffers[n] for n in ("weights", "gradients", "state")})
    fill(i, free_leaves(large))
    fill(j, ["x", "targets"], seed=1)
    w = {n: i[n].astype(float) for n in names}
    m, v = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0.0)
    for step, (instance, batch) in enumerate(((i, 64), (j, 17), (i, 64)), 1):
        instance.run(step=step, lr=0.01, loss_scale=1 / batch)
        for n in names:
            d = instance.gradient(n).astype(float)
            m[n], v[n] = 0.9 * m[n] + 0.1 * d, 0.999 * v[n] + 0.001 * d * d
            w[n] = w[n] - 0.01 * m[n] / (1 - 0.9 ** step) / (np.sqrt(v[n] / (1 - 0.999 ** step)) + 1e-8)
    assert max(np.abs(w[n] - i[n]).max() for n in names) < 2e-6


# ---- tied weights, fan-out, micro-batches ------------------------------------------------------------------------------
def tied(batch, wide=False):
    g = Graph(wide=wide)
    ids, targets = g.input("ids", batch, dtype="i32"), g.input("targets", batch, dtype="i32")
    table, w, b = g.weight("table", 11, 12), g.weight("w", 12, 12), g.weight("b", 12)
    gain, shift = g.weight("gain", 12), g.weight("shift", 12)
    x = ops.embedding(table, ids)
    x = ops.add(x, ops.dense(ops.layernorm(x, gain, shift), w, b, "tanh"))
    h = ops.dense(ops.layernorm(x, gain, shift), w, b, "tanh")
    x = ops.add(ops.add(x, h), ops.mul(h, h))               # one gradient goes three ways, and is read after it grew
    loss = ops.softmax_cross_entropy(ops.matmul(ops.dropout(x, 0.2), table, "nt"), targets)
    weights = [table, w, b, gain, shift]
    return plan(g, {"loss": loss}, {loss: weights}), [t.name for t in weights]


def test_tied_weights_and_fan_out(wide_kernels):
    program, names = tied(21, wide=True)
    assert directional_error(program, names, DRAWN) < 1e-6
    assert_equal_bits(tied(192)[0], **{**DRAWN, "loss_scale": 1 / 192})


def test_micro_batches_equal_one_big_batch():
    program, names = tied(192)
    big, small = program.bind(), tied(64)[0].bind()
    fill(big, free_leaves(program))
    small.buffers["weights"][:] = big.buffers["weights"]
    slots = dict(seed=3, step=1, loss_scale=1 / 192)
    big.run("forward", "backward", first_sample=0, **slots)
    for n in range(3):
        for name in ("ids", "targets"):
            small[name][:] = big[name][n * 64:][:64]
        small.run("forward", "backward", accumulate=n > 0, first_sample=n * 64, **slots)
    for n in names:
        assert np.abs(big.gradient(n) - small.gradient(n)).max() < 2e-6 * np.abs(big.gradient(n)).max(), n


# ---- second derivatives, two losses ------------------------------------------------------------------------------------
def penalty(activation, wide, norm=False):
    """A critic whose gradient by its input is held at length 1."""
    g = Graph(wide=wide)
    real, fake, between = (g.input(n, 32, 6) for n in ("real", "fake", "between"))
    sizes = (6, 9, 8, 1)
    weights = [g.weight(f"{name}{i}", *shape) for i, (a, b) in enumerate(zip(sizes, sizes[1:]))
               for name, shape in (("w", (a, b)), ("b", (b,)))]
    gain, shift = (g.weight("gain", 9), g.weight("shift", 9)) if norm else (None, None)

    def critic(x):
        for i in range(3):
            with g.scope(f"critic_{i}"):
                x = ops.dense(x, weights[2 * i], weights[2 * i + 1], activation if i < 2 else None)
                x = ops.layernorm(x, gain, shift) if norm and i == 0 else x
        return x
    d, = g.gradients(critic(between), [between], ops.fill(1.0, 32, 1, graph=g))
    away = ops.shift(ops.sqrt(ops.shift(ops.row_sum(ops.mul(d, d)), 1e-8)), -1.0)
    loss = ops.add(ops.scale(ops.mean(ops.mul(away, away)), 10.0), ops.sub(ops.mean(critic(fake)), ops.mean(critic(real))))
    last = [between] if activation == "tanh" else []        # relu'' is 0: no path, and the plan says so
    wanted = weights[:-1] + last
    return plan(g, {"loss": loss}, {loss: wanted}), [w.name for w in wanted]


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_gradient_penalty(wide_kernels, activation):
    program, names = penalty(activation, True)
    assert directional_error(program, names, SLOTS) < 1e-6


def test_gradient_penalty_bits():
    assert_equal_bits(penalty("tanh", False)[0], **SLOTS)


def test_layernorm_refuses_a_second_derivative():
    with pytest.raises(NotDifferentiableError, match="layernorm_backward") as e:
        penalty("tanh", False, norm=True)
    assert "critic_0" in e.value.where and "layernorm_backward" in e.value.where


def test_a_gan_is_two_programs_of_one_graph():
    g = Graph()
    z, real = g.input("z", 64, 8), g.input("real", 64, 4)
    fake, maker = mlp(g, (8, 32, 4), z, prefix="g")
    score_fake, critic = mlp(g, (4, 32, 1), fake, activation="tanh", prefix="d")
    score_real = ops.dense(ops.dense(real, critic[0], critic[1], "tanh"), critic[2], critic[3])

    def square(x, target):
        return ops.mean(ops.mul(ops.shift(x, -target), ops.shift(x, -target)))
    critic_loss, maker_loss = ops.add(square(score_real, 1.0), square(score_fake, 0.0)), square(score_fake, 1.0)
    critics = plan(g, {"loss": critic_loss}, {critic_loss: critic}, updates=adam(g, critic, "critic"))
    makers = plan(g, {"loss": maker_loss}, {maker_loss: maker}, updates=adam(g, maker, "maker"))
    fakes = plan(g, {"fake": fake})
    for program in (critics, makers):
        assert program.sizes["weights"] == g.parameters.sizes["weights"]
    state = allocate(max(critics.sizes["state"], makers.sizes["state"]))
    c = critics.bind({"state": state})
    m = makers.bind({n: c.buffers[n] for n in ("weights", "gradients", "state", "inputs")})
    shown = fakes.bind({n: c.buffers[n] for n in ("weights", "inputs")})
    fill(c, [w.name for w in critic + maker])
    goal, r = np.array([1.0, -2.0, 0.5, 3.0], np.float32), np.random.default_rng(0)

    def distance():
        again = fakes.bind({n: shown.buffers[n] for n in ("weights", "inputs")})
        again.run("forward")
        return np.abs(again["fake"].mean(0) - goal).max()
    first = distance()
    for step in range(1, 1001):
        c["real"][:] = goal + 0.1 * r.standard_normal((64, 4))
        c["z"][:] = r.standard_normal((64, 8))
        c.run(step=step, lr=2e-3, loss_scale=1.0)
        m.run(step=step, lr=1e-3, loss_scale=1.0)
    assert distance() < 0.5 * first


# ---- norms per sample --------------------------------------------------------------------------------------------------
def private(batch, clip):
    """A program whose gradient is the sum of the samples' gradients, each at most `clip` long; clip=0: the plain sum."""
    g = Graph()
    x, targets = g.input("x", batch, 7), g.input("targets", batch, dtype="i32")
    logits, weights = mlp(g, (7, 9, 5), x)
    loss = ops.softmax_cross_entropy(logits, targets)
    if not clip:
        return plan(g, {"loss": loss}, {loss: weights}), weights
    norms = g.sample_norms(loss, weights)
    seed = ops.minimum(ops.fill(1.0, batch, graph=g), ops.scale(ops.reciprocal(ops.sqrt(norms)), clip))
    return plan(g, {"loss": loss, "norms": norms}, {loss: weights}, seeds={loss: seed}), weights


def test_norms_per_sample_and_their_clipped_sum():
    program, weights = private(19, 0.7)
    names = [w.name for w in weights]
    i = program.bind()
    fill(i, free_leaves(program))
    i.run("forward", "backward", loss_scale=1.0) if "loss_scale" in program.slots else i.run("forward", "backward")
    one, want, total = private(1, 0)[0].bind({"weights": i.buffers["weights"]}), [], dict.fromkeys(names, 0.0)
    for r in range(19):
        one["x"][:], one["targets"][:] = i["x"][r], i["targets"][r]
        one.run("forward", "backward", loss_scale=1.0)
        want.append(sum((one.gradient(n).astype(float) ** 2).sum() for n in names))
        for n in names:
            total[n] = total[n] + one.gradient(n) * min(1.0, 0.7 / np.sqrt(want[-1]))
    assert np.abs(i["norms"] - want).max() < 1e-5 * max(want)
    for n in names:
        assert np.abs(i.gradient(n) - total[n]).max() < 1e-5 * np.abs(total[n]).max(), n
    made = [s for s in program.steps if s.label.endswith("matmul_tn")]
    assert len({s.arrays[-1] for s in made if s.arrays[-1][0] == "gradients"}) == 2         # once for each of two weights


def test_norms_refuse_a_weight_that_is_used_twice():
    g = Graph()
    x, targets = g.input("x", 8, 6), g.input("targets", 8, dtype="i32")
    w, b = g.weight("w", 6, 6), g.weight("b", 6)
    loss = ops.softmax_cross_entropy(ops.dense(ops.dense(x, w, b, "relu"), w, b), targets)
    with pytest.raises(NotDifferentiableError, match="used twice"):
        g.sample_norms(loss, [w, b])


# ---- instances ---------------------------------------------------------------------------------------------------------
def test_instances_share_weights_and_what_is_prepared():
    g = Graph()
    x = g.input("x", 128, 24)
    logits, weights = mlp(g, (24, 32, 8), x)
    program = plan(g, {"logits": logits})
    a = program.bind()
    fill(a, [w.name for w in weights])
    a = program.bind({"weights": a.buffers["weights"]})
    shared = [n for n in ("weights", "prepared") if n in program.sizes]
    b = program.bind({n: a.buffers[n] for n in shared})
    a["x"][:], b["x"][:] = 1, 2
    a.run("forward"), b.run("forward")
    one = a["logits"].copy()
    want = np.maximum(a["x"] @ a["w0"] + a["b0"], 0) @ a["w1"] + a["b1"]
    assert np.allclose(one, want, atol=1e-5) and not np.allclose(b["logits"], one)
    arena = allocate(program.sizes["arena"] + 4096)
    arena.fill(255)
    moved = program.bind({**a.buffers, "arena": arena})
    moved.run("forward")
    assert (moved["logits"] == one).all()
    assert np.shares_memory(a.buffers["weights"], b.buffers["weights"])


# ---- views -------------------------------------------------------------------------------------------------------------
def views(wide):
    g = Graph(wide=wide)
    x, w = g.input("x", 10, 6), g.weight("w", 3, 6, 6)
    q, k, v = (ops.matmul(x, w[n]) for n in range(3))
    scores = ops.matmul(ops.tanh(ops.matmul(q, k, "nt")), v)
    both = g.concat([ops.relu(scores), ops.tanh(scores)])
    both = ops.add(both, ops.add(both, both))               # one tensor, three times in one sum
    part = both[5:12]
    loss = g.sum([ops.row_sum(ops.mul(t, t).reshape(1, t.size)) for t in (both, part)])
    return plan(g, {"loss": loss}, {loss: [w, x]})


def test_slices_and_concatenation(wide_kernels):
    assert directional_error(views(True), ["w", "x"], SLOTS) < 1e-6
    assert_equal_bits(views(False), **SLOTS)


# ---- recomputation -----------------------------------------------------------------------------------------------------
def deep(again, wide, rate=0.1):
    g = Graph(wide=wide)
    x, targets = g.input("x", 64, 32), g.input("targets", 64, dtype="i32")
    weights = [g.weight(f"w{n}", 32, 32) for n in range(16)]
    out = x
    for n in range(0, 16, 4):
        block = functools.partial(functools.reduce, lambda h, w: ops.dropout(ops.tanh(ops.matmul(h, w)), rate), weights[n:n + 4])
        out = recompute(block, out) if again else block(out)
    loss = ops.softmax_cross_entropy(out, targets)
    return plan(g, {"loss": loss}, {loss: weights}), [w.name for w in weights]


def test_recomputation(wide_kernels):
    program, names = deep(True, True)
    assert directional_error(program, names[:3] + names[-1:], DRAWN) < 1e-5
    again, kept = deep(True, False)[0], deep(False, False)[0]
    assert again.arena < 0.6 * kept.arena and len(again.steps) > len(kept.steps)
    assert_equal_bits(again, **DRAWN)
    i, j = again.bind(), kept.bind()
    for instance in (i, j):
        fill(instance, free_leaves(kept))
        instance.run("forward", "backward", **DRAWN)
    assert i.buffers["gradients"].tobytes() == j.buffers["gradients"].tobytes()
