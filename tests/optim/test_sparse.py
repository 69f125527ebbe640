"""Updates of single rows: lazily by the rules of the rooms, beside the dense update, and where a model falls back to it."""
from __future__ import annotations

import numpy as np
import pytest

import dlcore
from dlcore import ops
from dlcore.errors import UsageError
from dlcore.graph import Graph, plan
from dlcore.layers import Dense, Embedding, Flatten, Input, WeightedBag
from dlcore.layers.regularizers import L2
from dlcore.ops.row_gradient import row_gradient
from dlcore.optim import SGD, Adagrad, Adam, AdamW, Lion, RMSprop
from dlcore.optim.adagrad.ref import adagrad
from dlcore.optim.adam.ref import adam
from dlcore.optim.sgd.ref import sgd

V, D, N = 37, 5, 24


class Rows:
    """loss = sum(table[ids] * x): the gradient of a row is the sum of the x where its id stands."""

    def __init__(self, optimizer, threads=None):
        graph = Graph()
        table, other = graph.weight("table", V, D), graph.weight("other", 3)
        ids, x = graph.input("ids", N, dtype="i32"), graph.input("x", N, D)
        looked_up = ops.embedding(table, ids)
        losses = {ops.mul(looked_up, x): [table], ops.mul(other, graph.input("y", 3)): [other]}
        program = plan(graph, {}, losses, lookups={table: (looked_up, lambda dout: row_gradient(dout, ids, V))},
                       updates=lambda: {"norm": optimizer.update(graph, [table, other])})
        self.instance, self.threads = program.bind(), threads
        self.instance["table"][...] = np.random.default_rng(0).standard_normal((V, D))

    def step(self, ids, x, step, lr, y=0.0):
        self.instance["ids"][...], self.instance["x"][...], self.instance["y"][...] = ids, x, y
        given = {"lr": lr} | ({"step": step} if "step" in self.instance.program.slots else {})
        self.instance.run(threads=self.threads, **given)
        return self.instance["table"].copy()


def batch(step):
    rng = np.random.default_rng(step)
    return rng.integers(0, V, N) ** 2 % V, rng.standard_normal((N, D)).astype(np.float32)


def dense(ids, x):
    g = np.zeros((V, D))
    np.add.at(g, ids, x.astype(np.float64))
    return g


RULES = [(SGD(), sgd, {}), (SGD(weight_decay=0.1), sgd, {"weight_decay": 0.1}),
         (SGD(weight_decay=0.1, decoupled_weight_decay=True), sgd, {"weight_decay": 0.1, "decoupled": True}),
         (Adagrad(), adagrad, {}), (Adagrad(initial_accumulator_value=0.1, weight_decay=0.1), adagrad,
                                    {"initial_accumulator_value": 0.1, "weight_decay": 0.1}),
         (Adam(beta_1=0.8), adam, {"beta_1": 0.8}), (AdamW(weight_decay=0.1), adam, {"weight_decay": 0.1, "decoupled": True})]


@pytest.mark.parametrize("optimizer, rule, options", RULES)
def test_follows_the_rule_in_the_rows_that_are_looked_up(optimizer, rule, options):
    training = Rows(optimizer)
    expected = training.instance["table"].astype(np.float64)
    states = [{} for _ in range(V)]
    for step in range(1, 9):
        ids, x = batch(step)
        lr, g = 0.05 / step, dense(ids, x)
        got = training.step(ids, x, step, lr)
        for v in np.unique(ids):
            expected[v] = rule(expected[v], g[v], states[v], lr, step, **options)
    np.testing.assert_allclose(got, expected, rtol=0, atol=3e-6)


@pytest.mark.parametrize("limits", [{"global_clipnorm": 0.5}, {"clipnorm": 0.5}, {"clipvalue": 0.2}])
def test_gradients_of_rows_are_clipped(limits):
    training = Rows(SGD(**limits))
    before = training.instance["table"].astype(np.float64)
    ids, x = batch(1)
    y, g = np.float32([1, 2, 3]), dense(ids, x)
    got = training.step(ids, x, 1, 0.1, y)
    length = np.sqrt((g**2).sum())
    both = np.hypot(length, np.linalg.norm(y))
    if "clipvalue" in limits:
        g = np.clip(g, -0.2, 0.2)
    else:
        g *= min(1, 0.5 / (length if "clipnorm" in limits else both))
    np.testing.assert_allclose(got, before - 0.1 * g, rtol=0, atol=1e-6)
    np.testing.assert_allclose(training.instance["norm"][0], both, rtol=1e-6)


def test_a_bad_row_changes_nothing():
    training = Rows(Adam())
    training.step(*batch(1), 1, 0.1)
    kept = {n: b.copy() for n, b in training.instance.buffers.items() if n in ("weights", "state")}
    ids, x = batch(2)
    x[3, 1] = np.nan
    training.step(ids, x, 2, 0.1)
    assert training.instance["status"][0] == 1
    training.instance["status"][0] = 0
    assert all(np.array_equal(training.instance.buffers[n], b) for n, b in kept.items())


@pytest.mark.parametrize("optimizer", [SGD(), Adagrad(), Adam(), Adam(use_ema=True)])
def test_bits_do_not_depend_on_threads(optimizer):
    found = []
    for threads in (1, 2, 3, 7):
        training = Rows(optimizer, threads)
        for step in (1, 2, 3):
            table = training.step(*batch(step), step, 0.1)
        found.append(table.tobytes())
    assert len(set(found)) == 1


@pytest.mark.parametrize("optimizer", [SGD(momentum=0.9), Adam(amsgrad=True), Lion(), RMSprop()])
def test_optimizers_that_move_every_row_are_refused(optimizer):
    with pytest.raises(UsageError, match="has no sparse update"):
        Rows(optimizer)


# ---- models ------------------------------------------------------------------------------------------------------------
def data():
    rng = np.random.default_rng(0)
    return rng.integers(0, 40, (96, 6)).astype(np.int32), rng.integers(0, 3, 96)


def fitted(optimizer, sparse, table=Embedding, epochs=3, **options):
    layers = [Input((6,), "int32"), table(100, 8, sparse=sparse, **options)] + ([Flatten()] if table is Embedding else [])
    model = dlcore.Sequential([*layers, Dense(3, activation="softmax")], seed=1)
    model.compile(optimizer, "sparse_categorical_crossentropy")
    model.ensure_store()
    before = model.layers[0].embeddings.numpy()
    model.fit(*data(), epochs=epochs, batch_size=16, verbose=0)
    return model, before




@pytest.mark.parametrize("table", [Embedding, WeightedBag])
@pytest.mark.parametrize("kind", [SGD, Adagrad])
def test_where_untouched_rows_stay_it_is_the_dense_update(kind, table):
    sparse, dense = fitted(kind(0.1), True, table)[0], fitted(kind(0.1), False, table)[0]
    for a, b in zip(sparse.get_weights(), dense.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-6)


def test_adam_is_lazy_and_leaves_other_rows_alone():
    model, before = fitted(AdamW(0.01, weight_decay=0.5), True)
    after = model.layers[0].embeddings.numpy()
    assert np.array_equal(after[40:], before[40:]) and (after[:40] != before[:40]).any(1).all()
    moments = {n: v for n, v in model.store.state(model.optimizer.name).items() if "/m/" in n and "embeddings" in n}
    (m,) = moments.values()
    assert not m.reshape(-1)[40 * 8:].any()


def test_memory_and_names_are_those_of_the_dense_update():
    """A checkpoint goes on under either."""
    sparse, dense = fitted(Adam(0.01), True)[0], fitted(Adam(0.01), False)[0]
    names = [{n for n in m.store.state(m.optimizer.name) if "embeddings" in n} for m in (sparse, dense)]
    assert names[0] and all(any(n.split("/")[1] == k.split("/")[1] for n in names[1]) for k in names[0])


def updates_rows(model):
    x, y = data()
    from dlcore.training.programs import signature
    program = model.programs.program(signature(model, "train", 16, [x[:16]], [y[:16]]))
    return any(row["kernel"].startswith("adam_rows") for row in program.table())


@pytest.mark.parametrize("change, sparse", [({}, True), ({"embeddings_regularizer": L2(1e-3)}, False),
                                            ({"gradient_accumulation_steps": 2}, False)])
def test_falls_back_where_every_row_has_a_gradient(change, sparse):
    optimizer = {n: v for n, v in change.items() if n.startswith("gradient")}
    layer = {n: v for n, v in change.items() if n not in optimizer}
    assert updates_rows(fitted(Adam(0.01, **optimizer), True, epochs=1, **layer)[0]) == sparse


def test_a_table_that_is_looked_up_twice_is_updated_whole():
    ids, table = Input((6,), "int32"), Embedding(100, 8, sparse=True)
    both = dlcore.layers.Concatenate()([Flatten()(table(ids)), Flatten()(table(ids))])
    model = dlcore.Model(ids, Dense(3, activation="softmax")(both))
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(*data(), epochs=1, batch_size=16, verbose=0)
    assert not updates_rows(model)


def test_the_recipe_makes_tables_sparse():
    classifier = dlcore.TextClassifier(epochs=2, arch="bilstm", embed=8, hidden=(4,), val_split=0, training={"sparse": True})
    texts = ["good film", "bad film", "a good one", "a bad one"] * 8
    classifier.fit(texts, ["yes", "no"] * 16)
    assert any(getattr(layer, "sparse", False) for layer in classifier.model.all_layers())
    with pytest.raises(UsageError, match="has no sparse update"):
        dlcore.TextClassifier(optimizer="lion", training={"sparse": True}).fit(texts, ["yes", "no"] * 16)
