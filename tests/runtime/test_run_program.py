"""Program and Instance: values, segments, slots, buffers, relocation."""
from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from runtime.handmade import LR, Builder, Place, filled, training

from dlcore.errors import DataError, ShapeError, UsageError
from dlcore.graph.declaration import Slot
from dlcore.runtime import Program, Step, allocate, kernel_table


def reference(instance):
    """The net of `training` in float64: its output and the gradient of the last bias."""
    h = instance["x"].astype(float)
    for i in range(3):
        h = h @ instance[f"w{i}"].astype(float) + instance[f"b{i}"].astype(float)
    return 2 * h * 0.25 + 1, h.sum(0)


def test_values_against_float64(kernels):
    instance = filled(training(), kernels)
    out, gradient = reference(instance)
    before = instance["b2"].copy()
    instance.run(lr=0.5)
    np.testing.assert_allclose(instance["out"], out, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(instance.gradient("b2"), gradient, rtol=1e-4, atol=1e-3)
    np.testing.assert_array_equal(instance["b2"], before - np.float32(0.5) * instance.gradient("b2"))
    assert instance.status == 0


def test_segments_run_apart(kernels):
    whole, apart = (filled(training(), kernels) for _ in range(2))
    whole.run(lr=0.5)
    apart.run("forward")
    assert not apart.gradient("b2").any()
    apart.run("backward")
    apart.run("update", lr=0.5)
    for name in ("out", "b2"):
        np.testing.assert_array_equal(apart[name], whole[name])
    with pytest.raises(UsageError, match="no segment reduce"):
        apart.run("reduce")


def test_accumulate_adds_to_the_gradients_only(kernels):
    instance = filled(training(), kernels)
    instance.run("forward", "backward")
    once, out = instance.gradient("b2").copy(), instance["out"].copy()
    instance.run("forward", "backward", accumulate=True)
    np.testing.assert_allclose(instance.gradient("b2"), 2 * once, rtol=1e-6)
    np.testing.assert_array_equal(instance["out"], out)
    instance.run("forward", "backward")
    np.testing.assert_array_equal(instance.gradient("b2"), once)


def test_status_stops_the_update(kernels):
    instance = filled(training(), kernels)
    instance["x"][3, 4] = np.inf
    before = instance["b2"].copy()
    instance.run(lr=0.5)
    assert instance.status == 1
    np.testing.assert_array_equal(instance["b2"], before)
    instance.status = 0
    assert instance.status == 0


def test_a_program_is_relocatable_and_shared(kernels):
    program = training()
    a = filled(program, kernels)
    a.run(lr=0)
    moved = program.bind({"weights": a.buffers["weights"], "arena": allocate(program.arena + 640)[640:]},
                         kernel_table(folder=kernels))
    moved["x"][:] = a["x"]
    moved.run(lr=0)
    np.testing.assert_array_equal(moved["out"], a["out"])
    assert np.shares_memory(moved["w0"], a["w0"]) and not np.shares_memory(moved["out"], a["out"])


def test_instances_keep_the_callers_arrays_alive(kernels):
    program = training()
    weights = np.ones(program.sizes["weights"] // 4 + 16, np.float32)
    weights = weights[(-weights.ctypes.data % 64) // 4:][:program.sizes["weights"] // 4]
    instance = program.bind({"weights": weights}, kernel_table(folder=kernels))
    address = weights.ctypes.data
    del weights
    instance.run(lr=0)
    assert instance["w0"].ctypes.data == address and (instance["w0"] == 1).all()


def data_program(rows: int = 8, written: bool = False) -> Program:
    b = Builder()
    data = b.leaf("rows", "data/rows", rows)
    out = b.output("out", rows)
    b.call("affine", out if written else data, data if written else out, scalars=(2.0, 0))
    return b.program()


def test_a_data_set_is_the_callers_array(kernels):
    data = np.arange(9, dtype=np.float32)[1:]          # aligned to its elements only
    data.flags.writeable = False
    instance = data_program().bind({"data/rows": data}, kernel_table(folder=kernels))
    instance.run()
    np.testing.assert_array_equal(instance["out"], 2 * data)
    assert instance["rows"].ctypes.data == data.ctypes.data


def test_buffers_that_cannot_serve_are_refused(kernels):
    table, program = kernel_table(folder=kernels), training()
    with pytest.raises(DataError, match="'rows' is missing"):
        data_program().bind(table=table)
    with pytest.raises(ShapeError, match="too small") as e:
        program.bind({"weights": allocate(64)}, table)
    assert e.value.where == "buffer weights" and str(program.sizes["weights"]) in e.value.expected
    with pytest.raises(ShapeError, match="not aligned"):
        program.bind({"weights": allocate(8000)[4:]}, table)
    with pytest.raises(ShapeError, match="without gaps"):
        program.bind({"weights": np.zeros((4000, 2), np.float32)[:, 0]}, table)
    with pytest.raises(ShapeError, match="read-only"):
        weights = allocate(program.sizes["weights"])
        weights.flags.writeable = False
        program.bind({"weights": weights}, table)
    with pytest.raises(ShapeError, match="not aligned to its elements"):
        data_program().bind({"data/rows": allocate(34)[1:33]}, table)
    with pytest.raises(ShapeError, match="NumPy array"):
        data_program().bind({"data/rows": [1, 2]}, table)


def test_plans_that_do_not_fit_are_refused(kernels):
    table = kernel_table(folder=kernels)
    b = Builder()
    b.call("affine", b.leaf("x", "inputs", 8), Place("outputs", 0, (8,)), scalars=(1.0, 0))
    b.sizes["outputs"] = 16
    with pytest.raises(ShapeError, match="beyond its buffer"):
        b.program().bind(table=table)
    step = b.steps[0]
    short = Step("affine", "f32", step.spec, 8, 64, (8,), step.arrays, (1.0,), (), "forward", 0)
    with pytest.raises(ValueError, match="the spec of affine has 2"):
        Program([short], b.sizes, {}, {}).bind(table=table)
    with pytest.raises(ValueError, match="lie together by segment"):
        Program([s for _ in range(2) for s in training().steps], {}, {}, {})


def slotted(*slots: Slot) -> Program:
    b = Builder()
    x = b.leaf("x", "inputs", 4)
    for n, slot in enumerate(slots):
        scalars = (slot, 0) if slot.dtype == "f32" else (1.0, slot)
        b.call("affine", x, b.output(f"out{n}", 4), scalars=scalars)
    return b.program()


def test_slots_are_typed_and_ranged(kernels):
    program = slotted(Slot("lr", "f32", 0.0, 10.0), Slot("step", "i64", 1, None), LR)
    instance = program.bind(table=kernel_table(folder=kernels))
    instance["x"][:] = 3
    with pytest.raises(UsageError, match="step was never given"):
        instance.run()
    instance.run(lr=np.float32(0.5), step=np.int64(7))
    assert instance["out0"][0] == 1.5 and instance["out1"][0] == 10 and instance["out2"][0] == 1.5
    assert instance.slots == {"lr": 0.5, "step": 7}
    bad = [({"lr": 11}, "10.0", "11"), ({"lr": float("nan")}, "finite", "nan"), ({"lr": 1e39}, "finite", "1e+39"),
           ({"step": 0}, "from 1", "0"), ({"step": 1.5}, "whole", "1.5"), ({"step": 1 << 63}, "whole", str(1 << 63)),
           ({"lr": "x"}, "finite", "'x'")]
    for slots, expected, got in bad:
        with pytest.raises(UsageError, match="bad value for the slot") as e:
            instance.run(**slots)
        assert expected in e.value.expected and e.value.got == got, slots
    with pytest.raises(UsageError, match="no slot lrr"):
        instance.run(lr=1.0, lrr=1.0)
    assert instance.slots == {"lr": 0.5, "step": 7}, "a refused run writes no slot"
    with pytest.raises(UsageError, match="two types"):
        slotted(Slot("lr"), Slot("lr", "i64"))


def test_a_slot_is_needed_only_by_the_segments_that_read_it(kernels):
    b = Builder()
    x = b.leaf("x", "inputs", 4)
    b.call("affine", x, b.output("out", 4), scalars=(1.0, 0))
    b.segment = "update"
    b.call("affine", x, b.output("late", 4), scalars=(1.0, Slot("step", "i64", 1)))
    instance = b.program().bind(table=kernel_table(folder=kernels))
    instance.run("forward")
    with pytest.raises(UsageError, match="step was never given"):
        instance.run()


def test_loss_scale_starts_at_one(kernels):
    instance = slotted(Slot("loss_scale")).bind(table=kernel_table(folder=kernels))
    instance["x"][:] = 3
    instance.run()
    assert (instance["out0"] == 3).all()


def test_prepare_runs_when_bound_unless_its_buffer_is_given(kernels):
    b = Builder()
    weight = b.leaf("w", "weights", 4)
    packed = b.array("prepared", 4)
    b.segment = "prepare"
    b.call("affine", weight, packed, scalars=(2.0, 0))
    b.segment = "forward"
    b.call("affine", packed, b.output("out", 4), scalars=(1.0, 1))
    program, table = b.program(), kernel_table(folder=kernels)
    weights = allocate(64)
    weights.view(np.float32)[:] = 5
    first = program.bind({"weights": weights}, table)
    weights.view(np.float32)[:] = 100
    second = program.bind({"weights": weights, "prepared": first.buffers["prepared"]}, table)
    third = program.bind({"weights": weights}, table)
    for instance, want in ((first, 11), (second, 11), (third, 201)):
        instance.run()
        assert (instance["out"] == want).all()


def test_wide_programs_hold_scalars_as_doubles(kernels):
    b = Builder(wide=True)
    b.call("affine", b.leaf("x", "inputs", 3), b.output("out", 3), scalars=(Slot("lr"), 2))
    instance = b.program().bind(table=kernel_table(folder=kernels))
    instance["x"][:] = 1
    instance.run(lr=0.1)
    assert instance["out"].dtype == np.float64 and (instance["out"] == 2.1).all()


def test_subnormal_numbers_are_zero_on_every_thread(kernels):
    b = Builder()
    b.call("halve", b.leaf("x", "inputs", 1024), b.output("out", 1024))
    instance = b.program().bind(table=kernel_table(folder=kernels))
    instance["x"][:] = np.float32(1.2e-38)
    for threads in (1, 3):
        instance.run(threads=threads)
        assert not instance["out"].any()
    assert np.float32(1.2e-38) * np.float32(0.5) > 0, "the caller's floating-point environment is as it was"


def test_nothing_to_share(kernels):
    b = Builder()
    b.call("affine", b.leaf("x", "inputs", 0), b.output("out", 0), scalars=(1.0, 0))
    for program in (b.program(), Program([], {}, {}, {})):
        instance = program.bind(table=kernel_table(folder=kernels))
        instance.run()
        instance.run(threads=2)
        assert program.describe()["threads"] == 1


def test_views(kernels):
    instance = filled(training(), kernels)
    assert instance["out"] is instance["out"] and instance["out"].shape == (37, 23)
    with pytest.raises(KeyError, match="outputs: out; leaves: x"):
        instance["nothing"]
    with pytest.raises(UsageError, match="no gradients"):
        slotted(LR).bind(table=kernel_table(folder=kernels)).gradient("x")


def test_table_and_description(kernels):
    program = training()
    row = program.table()[0]
    assert row == {"call": "multiply", "kernel": "multiply[f32]", "bytes": 4 * (37 * 19 + 19 * 23 + 23 + 37 * 23),
                   "shapes": "a: f32[37, 19], b: f32[19, 23], bias: f32[23] -> out: f32[37, 23]",
                   "flops": 2 * 37 * 19 * 23, "segment": "forward", "group": 0, "threads": 1}
    text = program.describe()
    assert (text["calls"], text["groups"], text["arena"]) == (9, 9, program.arena)
    assert text["slots"] == {"lr": "a finite number from 0.0 to 10.0"}


@pytest.mark.parametrize("threads", [1, 2])
def test_time_measures_every_step_and_changes_nothing(kernels, threads):
    b = Builder()
    x = b.leaf("x", "inputs", 64)
    for n, us in enumerate((100, 400)):
        b.call("nap", x, b.output(f"out{n}", 64), scalars=(us,))
    b.segment = "update"
    weight = b.leaf("w", "weights", 64)
    b.call("sgd", x, b.leaf("status", "state", 1, dtype="i64"), weight, scalars=(1.0,))
    instance = b.program().bind(table=kernel_table(folder=kernels))
    instance["x"][:] = 1
    seconds = instance.time(5, threads)
    assert len(seconds) == 3 and seconds[0] >= 100e-6 and seconds[1] >= 400e-6
    assert not instance["w"].any()


def test_importing_reads_no_kernels():
    code = ("import sys; from dlcore.runtime import Program, allocate, cpu_level, kernel_table;"
            "import dlcore.runtime.table as t; cpu_level(); allocate(8); assert not t._tables; print('fine');"
            "assert not {'numba', 'llvmlite', 'scipy', 'pydantic', 'click'} & set(sys.modules)")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "fine\n"
