"""How plans of whole nets look: no copies on residual paths, few barriers, an arena near its bound.  Times are printed by
benchmarks/planning.py."""
import pytest
from graph import toy

from dlcore import ops
from dlcore.graph import Graph, Parameters, call, op, plan
from dlcore.optim import Adam
from dlcore.runtime import kernel_table

attention_forward = call("toy_attention_forward(qkv: F[B, L, 3, C], heads: i64 -> out: F[B, L, C], lse: f32[B, L])", over="B")
attention_backward = call("toy_attention_backward(dout: F[B, L, C], qkv: F[B, L, 3, C], out: F[B, L, C], lse: f32[B, L],"
                          " heads: i64 -> +dqkv: F[B, L, 3, C])", over="B")


@op
def attention(qkv, heads):
    out, lse = attention_forward(qkv, heads)
    return out, lambda dout: attention_backward(dout, qkv, out, lse, heads)


class Table:
    """The kernels of this processor, and as if there were one for every call."""

    def __init__(self):
        table = kernel_table()
        self.constants, self.calls, self.lowerings = table.constants, table.calls, table.lowerings

    def has(self, name, dtypes="f32"):
        return True


def gpt2(B=4, L=1024, C=768, layers=12, V=50257, rate=0.1):
    """A program that trains a net of GPT-2's shape, its table tied."""
    g = Graph(Parameters())
    ids, positions, targets = (g.input(n, B * L, dtype="i32") for n in ("ids", "positions", "targets"))
    weights = []

    def weight(name, *shape):
        weights.append(g.weight(name, *shape))
        return weights[-1]

    def normed(x, name):
        return ops.layernorm(x, weight(name + "g", C), weight(name + "b", C))

    def dense(x, name, rows, columns):
        return ops.dense(x, weight(name + "w", rows, columns), weight(name + "c", columns))
    table, places = weight("wte", V, C), weight("wpe", L, C)
    x = ops.dropout(ops.add(ops.embedding(table, ids), ops.embedding(places, positions)), rate)
    for n in range(layers):
        h = attention(dense(normed(x, f"{n}n1"), f"{n}qkv", C, 3 * C).reshape(B, L, 3, C), 12).reshape(B * L, C)
        x = ops.add(x, ops.dropout(dense(h, f"{n}o", C, C), rate))
        h = ops.gelu(dense(normed(x, f"{n}n2"), f"{n}up", C, 4 * C))
        x = ops.add(x, ops.dropout(dense(h, f"{n}down", 4 * C, C), rate))
    loss = ops.softmax_cross_entropy(ops.matmul(normed(x, "last"), table, "nt"), targets)
    return plan(g, {"loss": loss}, {loss: weights}, updates=lambda: Adam(1e-3).update(g, weights), table=Table())


@pytest.fixture(scope="module")
def trained():
    return gpt2()


def test_gpt2_needs_no_copies(trained):
    kernels = [s.kernel for s in trained.steps]
    assert kernels.count("accumulate") == 0
    assert kernels.count("fill") == 1                       # the seed
    assert len(kernels) <= 900


def test_gpt2_has_few_barriers(trained):
    groups = [s.group for s in trained.steps]
    assert len(set(groups)) <= 390 and len(set(groups)) <= 0.65 * len(groups)
    assert groups == sorted(groups)


def test_gpt2_arena_is_near_its_bound(trained):
    assert trained.sizes["arena"] <= 1.05 * trained.bound
    assert trained.bound < 0.6 * trained.total
    assert set(trained.planning) == {"gradients", "lower", "sums", "groups", "layout", "steps", "precision", "device"}


def test_the_logits_lie_under_their_gradient(trained):
    update = next(s for s in trained.steps if s.kernel == "cross_entropy_backward")
    logits = dict(zip([i.name for i in update.spec.arrays], update.arrays))["logits"]
    forward = next(s for s in trained.steps if s.kernel == "cross_entropy_forward")
    assert logits[:2] == dict(zip([i.name for i in forward.spec.arrays], forward.arrays))["logits"][:2]


def test_an_unrolled_net_packs_its_weight_once():
    g = Graph()
    x, u = g.input("x", 300, 2, 4), g.weight("u", 4, 4)
    h = [toy.tanh(x[0])]
    for t in range(1, 300):
        h.append(toy.tanh(toy.add(x[t], toy.matmul(h[-1], u))))
    loss = g.sum([toy.row_sum(toy.mul(t, t)) for t in h])
    program = plan(g, {"h": h[-1]}, {loss: [u, x]}, table=toy.TABLE)
    kernels = [s.kernel for s in program.steps]
    assert kernels.count("toy_pack") == 1
    assert kernels.count("accumulate") == 0 and kernels.count("fill") == 1
    assert program.sizes["arena"] <= 1.1 * program.bound
