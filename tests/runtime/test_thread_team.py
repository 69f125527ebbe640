"""The team: equal bits at every number of threads, one owner at a time, forks, crowds."""
from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from runtime.handmade import Builder, filled, training

from dlcore.errors import UsageError
from dlcore.runtime import default_threads, kernel_table, set_threads


@pytest.mark.parametrize("threads", [1, 2, 3, 4, 7])
def test_equal_bits_at_every_number_of_threads(kernels, threads):
    """Shapes at which each step can be cut; 50 runs, on more members than this machine may have cores."""
    program = training(rows=371, units=67)
    one, many = (filled(program, kernels) for _ in range(2))
    for name in ("arena", "outputs", "gradients"):
        one.buffers[name][:] = 0xFF
    one.run("forward", "backward")
    assert np.isfinite(one["out"]).all() and np.isfinite(one.gradient("b2")).all()
    for _ in range(50):
        for name in ("arena", "outputs", "gradients"):
            many.buffers[name][:] = 0xFF
        many.run("forward", "backward", threads=threads)
        for name in ("outputs", "gradients", "arena"):
            np.testing.assert_array_equal(many.buffers[name], one.buffers[name])


def test_changing_the_number_of_members_from_run_to_run(kernels):
    instance, rng = filled(training(rows=200), kernels), np.random.default_rng(1)
    instance.run("forward", "backward")
    want = instance["out"].copy()
    for threads in rng.integers(1, 9, 200):
        instance["out"][:] = np.nan
        instance.run("forward", "backward", threads=int(threads))
        np.testing.assert_array_equal(instance["out"], want)


def test_members_that_fell_asleep_come_back(kernels):
    """Pauses longer than the spinning: the owner starts alone and the others join, or are dismissed."""
    b = Builder()
    x = b.leaf("x", "inputs", 4096)
    for n in range(6):
        out = b.output(f"out{n}", 4096)
        b.call("nap", x, out, scalars=(150,))
        x = out
    instance = b.program().bind(table=kernel_table(folder=kernels))
    plans = [instance.program.plan(("forward",)), instance.program.plan(("forward",), 2)]
    sleepy = dict.fromkeys(("auto", "forced"), 0)
    for n in range(40):
        instance["x"][:] = n
        instance["out5"][:] = -1
        time.sleep(0.002)
        worked = instance.execute(plans[n % 2])
        sleepy["forced" if n % 2 else "auto"] = max(worked, sleepy["forced" if n % 2 else "auto"])
        assert (instance["out5"] == n).all()
    assert sleepy["forced"] == 2


def test_eight_python_threads_on_two_programs(kernels):
    """Who does not get the team runs alone, with the same bits."""
    programs = [training(rows=300, units=41), training(rows=97, units=64)]
    want = []
    for program in programs:
        instance = filled(program, kernels)
        instance.run("forward", "backward")
        want.append((instance["out"].copy(), instance.gradient("b2").copy()))
    failures, gate = [], threading.Barrier(8)

    def work(n: int) -> None:
        try:
            instance = filled(programs[n % 2], kernels)
            gate.wait()
            for _ in range(60):
                instance["out"][:] = np.nan
                instance.run("forward", "backward", threads=2 + n % 3)
                np.testing.assert_array_equal(instance["out"], want[n % 2][0])
                np.testing.assert_array_equal(instance.gradient("b2"), want[n % 2][1])
        except BaseException as e:                  # noqa: BLE001 - carried to the main thread
            failures.append(e)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(120)
    assert not failures and not any(t.is_alive() for t in threads)


def test_runs_hold_no_gil_and_refuse_the_same_instance_twice(kernels):
    """With the GIL held, the second run could only begin after the first."""
    b = Builder()
    b.call("nap", b.leaf("x", "inputs", 64), b.output("out", 64), scalars=(800_000,))
    instance = b.program().bind(table=kernel_table(folder=kernels))
    runner = threading.Thread(target=instance.run)
    runner.start()
    time.sleep(0.3)
    with pytest.raises(UsageError, match="running in another thread"):
        instance.run()
    runner.join()
    instance.run("forward", threads=1)


FORK = """
import os, sys, threading, time
sys.path.insert(0, {tests!r})
import numpy as np
from runtime.handmade import Path, filled, training
program = training(rows=400, units=64)
instance, other = (filled(program, Path({kernels!r})) for _ in range(2))
instance.run("forward", "backward", threads=3)
want, stop = instance["out"].copy(), threading.Event()
def loop():
    while not stop.is_set():
        other.run("forward", "backward", threads=3)
runner = threading.Thread(target=loop)
runner.start()
for n in range(25):
    time.sleep(0.003)
    child = os.fork()
    if child == 0:                      # other may have been in the middle of a run, owning the team
        code = 1
        try:
            for one in (instance, other):
                one["out"][:] = np.nan
                one.run("forward", "backward", threads=3)
                assert (one["out"] == want).all()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert status == 0, status
stop.set()
runner.join()
instance.run("forward", "backward", threads=3)
assert (instance["out"] == want).all()
print("fine")
"""


def test_fork_during_a_run(kernels):
    code = FORK.format(tests=str(Path(__file__).parents[1]), kernels=str(kernels))
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout == "fine\n", done.stderr


def test_threads_are_numbers_in_range(kernels, monkeypatch):
    instance = filled(training(), kernels)
    for bad in (0, -1, 257, 1.5, "two"):
        with pytest.raises(UsageError, match="bad number of threads"):
            instance.run("forward", threads=bad)
        with pytest.raises(UsageError, match="bad number of threads"):
            set_threads(bad)
    try:
        set_threads(5)
        assert default_threads() == 5
        monkeypatch.setenv("DLCORE_THREADS", "3")
        set_threads(None)
        assert default_threads() == 3
        monkeypatch.setenv("DLCORE_THREADS", "many")
        set_threads(None)
        with pytest.raises(UsageError, match="bad number") as e:
            default_threads()
        assert e.value.where == "DLCORE_THREADS"
        monkeypatch.delenv("DLCORE_THREADS")
        set_threads(None)
        assert 1 <= default_threads() <= len(os.sched_getaffinity(0))
    finally:
        set_threads(None)


def test_set_threads_changes_the_next_run(kernels):
    b = Builder()
    x, weight = b.leaf("x", "inputs", 512, 512), b.leaf("w", "weights", 512, 512)
    b.call("multiply", x, weight, None, b.output("out", 512, 512), add=(0,))
    program = b.program()
    try:
        for most in (1, 2, 3):
            set_threads(most)
            assert program.describe()["threads"] == most
    finally:
        set_threads(None)


def test_a_program_runs_on_one_thread_where_two_do_not_pay(kernels):
    set_threads(2)
    try:
        assert training(rows=3, inputs=4, units=5).describe()["threads"] == 1
    finally:
        set_threads(None)
