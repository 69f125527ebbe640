"""One rule of the planner after another, on the calls of `toy.py`."""
import numpy as np
import pytest
from graph import toy
from graph.toy import Machine, Table, graph

from dlcore.errors import DeviceError, NotDifferentiableError, ShapeError, SpecError, UsageError
from dlcore.graph import Graph, Parameters, Slot, call, plan, recompute


def make(g, outputs, gradients=None, **options):
    return plan(g, outputs, gradients, table=options.pop("table", toy.TABLE), **options)


def kernels(program, segment=""):
    return [s.kernel for s in program.steps if segment in ("", s.segment)]


def copies(program):
    return [k for k in kernels(program) if k in ("accumulate", "fill")]


def array_of(step, name):
    return step.arrays[[i.name for i in step.spec.arrays].index(name)]


def filled(program, **values):
    machine = Machine(program)
    for name, value in values.items():
        machine[name][...] = value
    return machine


def counted(*shape):
    return np.arange(1.0, np.prod(shape) + 1).reshape(shape) / 10


# ---- updates in place --------------------------------------------------------------------------------------------------
def test_an_update_shares_memory_that_nobody_reads_later():
    g = graph()
    x = g.input("x", 6)
    program = make(g, {"out": toy.tanh(toy.negative(toy.scale(x, 2.0)))})
    assert copies(program) == []
    machine = filled(program, x=counted(6))
    machine.run("forward")
    assert np.allclose(machine["out"], np.tanh(-2 * counted(6)))


@pytest.mark.parametrize("who", ["output", "later call", "input", "sum"])
def test_an_update_copies_what_is_read_later(who):
    g = graph()
    x = g.input("x", 6)
    y = x if who == "input" else g.sum([toy.scale(x, 1.0), toy.scale(x, 1.0)]) if who == "sum" else toy.scale(x, 2.0)
    out = toy.negative(y)
    outputs = {"out": out, "y": y} if who == "output" else {"out": toy.add(out, toy.tanh(y)) if who == "later call" else out}
    program = make(g, outputs)
    assert copies(program) == ["accumulate"]
    machine = filled(program, x=counted(6))
    machine.run("forward")
    y = counted(6) * (1 if who == "input" else 2)
    assert np.allclose(machine["out"], -y + (np.tanh(y) if who == "later call" else 0))
    assert np.array_equal(machine["x"], counted(6))


def test_state_is_updated_in_place_and_its_old_version_refused():
    g = graph()
    x, mean = g.input("x", 3), g.statistic("mean", 3)
    with g.in_segment("update"):
        new = toy.remember_call(x, g.status, mean)
    with g.scope("norm"), pytest.raises(UsageError, match="updated in place before") as e:
        toy.add(mean, mean)
    assert "layer norm" in e.value.where
    assert g.statistic("mean", 3) is new
    toy.add(new, new)


def test_other_rows_of_a_cache_stay_readable():
    g = graph()
    x, cache = g.input("x", 3), g.cache("keys", 2, 5, 3)
    new = toy.write_call(x, Slot("position", "i64"), cache[0])
    toy.add(cache[1], cache[1])
    with pytest.raises(UsageError):
        toy.add(cache[0], cache[0])
    program = make(g, {"keys": new})
    assert program.outputs["keys"][0] == "cache" and kernels(program) == ["toy_write"]
    machine = filled(program, x=counted(3))
    for t in range(3):
        machine.run("forward", poison=False, position=t)
    assert np.allclose(machine["keys"][:3], counted(3)) and not machine["keys"][3:].any()


# ---- sums --------------------------------------------------------------------------------------------------------------
def test_residuals_need_no_copy():
    g = graph()
    x, w = g.input("x", 8, 4), g.weight("w", 4, 4)
    for _ in range(5):
        x = toy.add(x, toy.tanh(toy.matmul(x, w)))
    loss = toy.row_sum(toy.mul(x, x))
    program = make(g, {"loss": loss}, {loss: [w]})
    assert copies(program) == ["fill"]                      # the seed


def test_parts_that_tile_are_computed_in_place_whoever_reads_them():
    g = graph()
    x = g.input("x", 4, 3)
    a, b = toy.tanh(x), toy.plain_tanh(x)
    both = g.concat([a, b])
    program = make(g, {"out": toy.scale(both, 2.0), "more": toy.mul(a, b)})
    assert copies(program) == []
    machine = filled(program, x=counted(4, 3))
    machine.run("forward", members=3)
    assert np.allclose(machine["out"], 2 * np.concatenate([np.tanh(counted(4, 3))] * 2))


def test_gaps_are_cleared_first():
    g = graph()
    x = g.input("x", 6, 3)
    loss = toy.row_sum(toy.mul(x[1:3], x[1:3]))
    program = make(g, {"loss": loss}, {loss: [x]})
    assert copies(program) == ["fill", "fill"]             # the seed, and the rows that nobody reads
    machine = filled(program, x=counted(6, 3))
    machine.run("forward", "backward")
    want = np.zeros((6, 3))
    want[1:3] = 2 * counted(6, 3)[1:3]
    assert np.allclose(machine["d x"], want)


def test_a_part_that_occurs_twice_counts_twice():
    g = graph()
    x = g.input("x", 4)
    t = toy.scale(x, 2.0)
    program = make(g, {"out": g.sum([t, t, t])})
    machine = filled(program, x=counted(4))
    machine.run("forward")
    assert np.allclose(machine["out"], 6 * counted(4)) and copies(program) == ["accumulate"] * 3


# ---- gradients in their buffer, micro-batches --------------------------------------------------------------------------
def test_only_what_lands_in_gradients_adds_up_over_micro_batches():
    g = graph()
    x, w = g.input("x", 5, 4), g.weight("w", 4, 4)
    loss = toy.row_sum(toy.tanh(toy.matmul(x, w)))
    program = make(g, {"loss": loss}, {loss: [w, x]})
    bits = {(s.kernel, a[0]): bit for s in program.steps for i, a in zip(s.spec.arrays, s.arrays) if i.kind == "add"
            for bit in [s.add[[j.name for j in s.spec.added].index(i.name)]]}
    assert bits["toy_matmul_tn", "gradients"] == 2 and bits["toy_matmul_nt", "outputs"] == 0
    machine = filled(program, x=counted(5, 4), w=counted(4, 4))
    machine.run("forward", "backward")
    one, dx = machine.gradient("w").copy(), machine["d x"].copy()
    machine.run("forward", "backward", accumulate=True)
    assert np.allclose(machine.gradient("w"), 2 * one) and np.array_equal(machine["d x"], dx)


def test_a_gradient_that_is_read_is_kept_apart():
    g = graph()
    x, w = g.input("x", 5, 4), g.weight("w", 5, 4)
    y = toy.add(x, w)                                       # d x is d w
    loss = toy.row_sum(toy.mul(y, y))
    program = make(g, {"loss": loss}, {loss: [w, x]})
    assert [array_of(s, "out")[0] for s in program.steps if s.kernel == "accumulate"] == ["gradients"]
    machine = filled(program, x=counted(5, 4), w=1)
    for accumulate in (False, True):
        machine.run("forward", "backward", accumulate=accumulate)
    assert np.allclose(machine["d x"], 2 * (counted(5, 4) + 1)) and np.allclose(machine.gradient("w"), 2 * machine["d x"])


def test_several_losses_in_one_plan():
    g = graph()
    x, w, v = g.input("x", 5, 4), g.weight("w", 5, 4), g.weight("v", 5, 4)
    first, second = toy.row_sum(toy.mul(x, w)), toy.row_sum(toy.mul(toy.mul(w, w), v))
    seed = g.input("seed", 5)
    program = make(g, {"a": first, "b": second}, {first: [w], second: [w, v]}, seeds={second: seed})
    machine = filled(program, x=counted(5, 4), w=2, v=3, seed=np.arange(5.0))
    machine.run("forward", "backward", loss_scale=10.0)
    rows = np.arange(5.0)[:, None]
    assert np.allclose(machine.gradient("w"), 10 * counted(5, 4) + 12 * rows)
    assert np.allclose(machine.gradient("v"), 4 * rows * np.ones(4))


# ---- the update --------------------------------------------------------------------------------------------------------
def regression(batch=4):
    g = graph()
    x, w, b = g.input("x", batch, 3), g.weight("w", 3, 3), g.weight("b", batch, 3)
    loss = toy.row_sum(toy.tanh(toy.add(toy.matmul(x, w), b)))
    return g, loss, [w, b]


def test_a_bad_step_leaves_weights_and_statistics_alone():
    g, loss, weights = regression()
    mean = g.statistic("mean", 4)
    with g.in_segment("update"):
        toy.remember_call(loss, g.status, mean)
    program = make(g, {"loss": loss}, {loss: weights}, updates=toy.sgd(g, weights))
    assert kernels(program, "update") == ["toy_flag", "toy_remember", "toy_sgd"] or \
        kernels(program, "update") == ["toy_flag", "toy_sgd", "toy_remember"]
    machine = filled(program, x=counted(4, 3), w=1, b=0.5)
    machine.run(lr=0.1)
    assert machine["mean"].any() and not (machine["w"] == 1).any()
    kept = machine["w"].copy(), machine["mean"].copy()
    machine["x"][0, 0] = np.nan
    machine.run(lr=0.1)
    assert machine["status"][0] == 1
    assert np.array_equal(machine["w"], kept[0]) and np.array_equal(machine["mean"], kept[1])


def test_statistics_are_updated_in_training_only():
    g, loss, weights = regression()
    with g.in_segment("update"):
        toy.remember_call(loss, g.status, g.statistic("mean", 4))
    assert "toy_remember" not in kernels(make(g, {"loss": loss}, {loss: weights}))
    g2 = graph()
    other = toy.scale(g2.input("x", 4), 2.0)
    with g2.in_segment("update"):                           # its layer is not part of this plan
        toy.remember_call(other, g2.status, g2.statistic("mean", 4))
    w = g2.weight("w", 4)
    loss = toy.mul(w, w)
    assert "toy_remember" not in kernels(make(g2, {}, {loss: [w]}, updates=toy.sgd(g2, [w])))


def test_an_update_covers_exactly_the_weights_with_a_gradient():
    g, loss, weights = regression()
    with pytest.raises(UsageError, match="'b' has a gradient in this plan but is not updated"):
        make(g, {"loss": loss}, {loss: weights}, updates=toy.sgd(g, weights[:1]))
    with pytest.raises(UsageError, match="'b' is updated but has no gradient"):
        make(g, {"loss": loss}, {loss: weights[:1]}, updates=toy.sgd(g, weights))


def test_planning_leaves_the_graph_as_it_was():
    g, loss, weights = regression()
    packed = toy.matmul(g.leaves["x"], weights[0])
    before = (list(g.calls), list(g.tape), list(g.leaves), g.versions, g.nodes, g.segment, g.path, dict(g.newest),
              [c.segment for c in g.calls])
    first = make(g, {"loss": loss}, {loss: weights}, updates=toy.sgd(g, weights))
    make(g, {"packed": packed})                             # hoists calls of the graph
    with pytest.raises(UsageError):
        make(g, {"loss": loss}, {loss: weights}, updates=toy.sgd(g, weights[:1]))
    after = (list(g.calls), list(g.tape), list(g.leaves), g.versions, g.nodes, g.segment, g.path, dict(g.newest),
             [c.segment for c in g.calls])
    assert before == after
    again = make(g, {"loss": loss}, {loss: weights}, updates=toy.sgd(g, weights))
    assert kernels(again) == kernels(first) and again.sizes == first.sizes


# ---- gradients ---------------------------------------------------------------------------------------------------------
def test_refusals_name_layer_and_call():
    g = graph()
    x = g.input("x", 4)
    with g.scope("outer"), g.scope("inner"):
        y = toy.tanh_call(x)
    loss = toy.mul(y, y)
    with pytest.raises(NotDifferentiableError, match="toy_tanh has no derivative") as e:
        make(g, {}, {loss: [x]})
    assert e.value.where == "layer outer/inner, call toy_tanh"
    other = g.input("other", 4)
    with pytest.raises(NotDifferentiableError, match="other f64.* does not reach"):
        make(g, {}, {toy.mul(x, x): [other]})


def test_errors_of_calls_name_the_layer():
    g = graph()
    x, y = g.input("x", 4), g.input("ids", 4, dtype="i32")
    with g.scope("dense_1"):
        with pytest.raises(ShapeError) as e:
            toy.add_call(x, g.input("long", 5))
        assert "layer dense_1" in e.value.where and "y" in e.value.where and "S = 4" in e.value.expected
        with pytest.raises(ShapeError, match="has dtype i32") as e:
            toy.add_call(x, y)
        assert "layer dense_1" in e.value.where
    with pytest.raises(SpecError, match="got 1 arguments"):
        toy.add_call(x)
    with pytest.raises(SpecError, match="x is missing"):
        toy.add_call(None, x)
    with pytest.raises(SpecError, match="takes a tensor of this graph"):
        toy.add_call(x, graph().input("x", 4))
    with pytest.raises(SpecError, match="takes a number or a Slot"):
        toy.multiply_call(g.input("a", 2, 3), g.input("p", 1, 3, 4), 2.5, N=4)
    with pytest.raises(SpecError, match="slot lr is f32"):
        toy.write_call(x, Slot("lr"), g.cache("c", 3, 4))


def test_a_second_derivative():
    g = graph()
    x = g.input("x", 5)
    first, = g.gradients(toy.tanh(x), [x], toy.fill_call(1.0, S=5, graph=g))
    program = make(g, {"first": first}, {first: [x]})
    machine = filled(program, x=counted(5))
    machine.run("forward", "backward")
    t = np.tanh(counted(5))
    assert np.allclose(machine["first"], 1 - t ** 2) and np.allclose(machine["d x"], -2 * t * (1 - t ** 2))


def test_recomputation_repeats_draws_and_not_the_statistics():
    g = graph()
    x, w = g.input("x", 6, 3), g.weight("w", 3, 3)
    nodes = []

    def block(x):
        nodes.append(g.node())
        out = toy.tanh(toy.matmul(x, w))                    # w is no argument: it is found
        with g.in_segment("update"):
            toy.remember_call(toy.row_sum(out), g.status, g.statistic("mean", 6))
        return out
    loss = toy.row_sum(recompute(block, x))
    after = g.node()
    program = make(g, {"loss": loss}, {loss: [w]}, updates=toy.sgd(g, [w]))
    assert nodes == [1, 1] and after == 2 and g.node() == 3
    assert kernels(program).count("toy_remember") == 1 and kernels(program).count("toy_tanh") == 2
    machine = filled(program, x=counted(6, 3), w=0.1)
    machine.run("forward", "backward")
    out = np.tanh(counted(6, 3) @ np.full((3, 3), 0.1))
    assert np.allclose(machine.gradient("w"), counted(6, 3).T @ (1 - out ** 2))


# ---- lowerings ---------------------------------------------------------------------------------------------------------
def test_equal_lowered_calls_are_done_once():
    g = graph()
    x, w = g.input("x", 4, 3), g.weight("w", 3, 5)
    loss = toy.row_sum(toy.add(toy.matmul(x, w), toy.matmul(toy.tanh(x), w)))
    program = make(g, {"loss": loss}, {loss: [w]})
    assert kernels(program, "forward").count("toy_pack") == 1


def test_what_depends_on_weights_alone_is_prepared():
    g = graph()
    x, w = g.input("x", 4, 3), g.weight("w", 3, 3)
    squared = toy.mul(w, w)
    out = toy.matmul(toy.matmul(x, squared), g.concat([squared[:1], squared[1:]]))
    program = make(g, {"out": out})
    assert set(kernels(program, "prepare")) >= {"toy_mul", "toy_pack"} and kernels(program, "forward") == ["toy_multiply"] * 2
    assert program.sizes["prepared"] <= 2 * 3 * 4 * 8 + 128     # packed panels alone stay: what led to them was scratch
    machine = Machine(program, {"weights": np.full(program.sizes["weights"] // 8, 0.5).view(np.uint8)})
    machine["x"][:] = 1
    machine.run("forward")
    assert np.allclose(machine["out"], 3 * 0.25 * 3 * 0.25)
    training = make(g, {"out": out}, {toy.row_sum(out): [w]})
    assert kernels(training, "prepare") == []


def test_alternatives_and_product_types():
    def kernels_and_panels(rows, table=toy.TABLE, **options):
        g = Graph(**options)
        out = toy.matmul(g.input("x", rows, 3), g.input("w", 3, 5))
        program = make(g, {"out": out}, table=table)
        return kernels(program), [array_of(s, "panels")[3] for s in program.steps], program.planning["precision"]
    assert kernels_and_panels(4) == (["toy_pack", "toy_multiply"], ["f32"] * 2, "float32")
    assert kernels_and_panels(4, precision="bf16") == (["toy_pack", "toy_multiply"], ["bf16"] * 2, "bf16")
    assert kernels_and_panels(4, precision="tf32x3") == (["toy_pack", "toy_multiply"], ["f32"] * 2, "float32")
    assert kernels_and_panels(4, Table(bf16=False), precision="bf16") == (["toy_pack", "toy_multiply"], ["f32"] * 2, "float32")
    with pytest.raises(DeviceError, match="no kernel for the call toy_matmul"):
        kernels_and_panels(100)


def test_an_output_that_nobody_reads_is_left_out_where_it_may():
    g = graph()
    double, half = toy.two_call(g.input("x", 4))
    step, = make(g, {"double": double}).steps
    assert array_of(step, "half") is None and array_of(step, "double") is not None
    step, = make(g, {"half": half}).steps
    assert array_of(step, "half") is not None and array_of(step, "double") is not None


def test_partial_sums_are_chunked():
    g = graph()
    program = make(g, {"out": toy.column_sum_call(g.input("x", 100, 3))})
    assert kernels(program) == ["toy_parts", "toy_add_parts"] and program.steps[0].extent == 6
    machine = filled(program, x=counted(100, 3))
    machine.run("forward", members=3, backwards=True)
    assert np.allclose(machine["out"], counted(100, 3).sum(0))


def test_outputs_never_lie_in_the_arena():
    g = graph()
    x = g.input("x", 4)
    y = toy.tanh(x)
    program = make(g, {"y": y, "x": x, "z": toy.tanh(y)})
    assert {n: where[0] for n, where in program.outputs.items()} == {"y": "outputs", "x": "inputs", "z": "outputs"}


def test_a_data_set_has_a_buffer_of_its_own():
    g = graph()
    x, more = g.data("images", 10, 3), g.input("x", 3)
    program = make(g, {"out": toy.add(x[4], more)})
    assert program.leaves["images"] == ("data/images", 0, (10, 3), "f64") and program.sizes["data/images"] >= 240
    machine = filled(program, images=counted(10, 3), x=1)
    machine.run("forward")
    assert np.allclose(machine["out"], counted(10, 3)[4] + 1)
    with pytest.raises(ShapeError, match="known otherwise"):
        g.data("images", 10, 4)


def test_host_side_reduction_stands_between_backward_and_update():
    g, loss, weights = regression()

    def update():
        with g.in_segment("reduce"):
            shared = toy.negate_call(g.flat("gradients", weights))
        toy.sgd_call(shared, g.status, Slot("lr"), g.flat("weights", weights))
    program = make(g, {"loss": loss}, {loss: weights}, updates=update)
    assert kernels(program, "reduce") == ["toy_negate"]
    order = [s.segment for s in program.steps]
    assert order == sorted(order, key=("forward", "backward", "reduce", "update").index)


def test_labels_and_flops():
    g = graph()
    with g.scope("block"), g.scope("dense"):
        out = toy.matmul(g.input("x", 4, 3), g.weight("w", 3, 5))
    program = make(g, {"out": toy.add(out, out)})
    assert [s.label for s in program.steps] == ["block/dense/toy_matmul"] * 2 + ["toy_add"]
    assert program.steps[-1].flops == 20


# ---- parameters --------------------------------------------------------------------------------------------------------
def test_places_are_sorted_by_group_and_stay():
    p = Parameters()
    g = Graph(p)
    g.weight("a", 3)
    g.weight("b", 20, group="z")
    g.weight("c", 5)
    assert p.range(["a", "c"]) == (0, 32)
    assert [p.places[n].offset for n in "abc"] == [0, 128, 64]
    g.weight("late", 4)
    assert p.range(["late", "b"]) == (32, 80)
    with pytest.raises(UsageError, match="side by side"):
        p.range(["a", "b"])
    assert p.runs(["b", "a", "late", "c"]) == [["a", "c", "b", "late"]] and p.runs(["late", "a"]) == [["a"], ["late"]]
    with pytest.raises(ShapeError, match="known otherwise"):
        Graph(p).weight("a", 4)
    with pytest.raises(UsageError, match="wide"):
        Graph(p, wide=True)


def test_graphs_of_a_model_agree_on_places():
    p = Parameters()

    def build(batch):
        g = Graph(p, wide=True)
        x, w = g.input("x", batch, 3), g.weight("w", 3, 3)
        loss = toy.row_sum(toy.matmul(x, w))
        g.state("m", 7)
        return make(g, {"loss": loss}, {loss: [w]}, updates=toy.sgd(g, [w]))
    a, b = build(2), build(9)
    assert a.leaves["w"] == b.leaves["w"] and a.leaves["status"] == b.leaves["status"]
    with pytest.raises(ShapeError):
        Graph(p, wide=True).weight("w", 3, 4)


# ---- declarations ------------------------------------------------------------------------------------------------------
def test_a_name_is_declared_once():
    assert call(toy.add_call.text, over="S", flops="S") is toy.add_call
    with pytest.raises(SpecError, match="declared twice"):
        call("toy_add(x: F[S] -> +out: F[S])", over="S")
    with pytest.raises(SpecError, match="f32 or i64"):
        Slot("n", "i32")


def test_a_backward_must_return_one_gradient_per_tensor():
    from dlcore.graph import op

    @op
    def wrong(x, y):
        return toy.add(x, y), lambda dout: dout
    g = graph()
    x = g.input("x", 4)
    with pytest.raises(SpecError, match="returned 1 gradients"):
        make(g, {}, {wrong(x, x): [x]})


def test_views():
    g = graph()
    x = g.input("x", 4, 6)
    assert x[1].shape == (6,) and x[-1].offset == 18 and x[1:3][1:2].offset == 12 and x.reshape(-1, 3).shape == (8, 3)
    assert x.reshape(4, 6) is x and x[:] is x
    for wrong in (lambda: x.reshape(5, 5), lambda: x[::2], lambda: x[3:3]):
        with pytest.raises(ShapeError):
            wrong()
    with pytest.raises(IndexError):
        x[4]
    with pytest.raises(UsageError):
        x[0, 1]
