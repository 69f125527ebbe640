"""Which level, which entry, and why."""
from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from runtime.handmade import Builder, build_kernels

from dlcore.errors import DeviceError
from dlcore.runtime import cpu_level, kernel_table
from dlcore.runtime import table as module
from dlcore.runtime.program import probe_level, reported_level

X86 = ("v2", "v3", "v4", "v4_bf16")
pytestmark = pytest.mark.skipif(reported_level() not in X86, reason="the tests' kernels name levels of x86-64")


def runnable():
    return [level for level in X86 if probe_level(level)]


def level_of(kernels):
    b = Builder()
    b.call("level", b.leaf("x", "inputs", 64), b.output("out", 64))
    instance = b.program().bind(table=kernel_table(folder=kernels))
    instance.run()
    return instance["out"][0]


def test_the_reported_level_is_chosen(kernels, monkeypatch):
    monkeypatch.delenv("DLCORE_CPU_LEVEL", raising=False)
    table = kernel_table(folder=kernels)
    assert table.level == cpu_level() == reported_level()
    assert table.reason.startswith(f"{table.level}: the highest level that the processor reports")
    assert kernel_table(folder=kernels) is table


@pytest.mark.parametrize("level", X86)
def test_override_and_fallback(kernels, monkeypatch, level):
    """Each level that this machine can run, down to entries of the next lower level that has them."""
    if level not in runnable():
        pytest.skip(f"this processor lacks {level}")
    monkeypatch.setenv("DLCORE_CPU_LEVEL", level)
    table = kernel_table(folder=kernels)
    assert table.level == level and "DLCORE_CPU_LEVEL" in table.reason
    assert level_of(kernels) == min(4, 2 + X86.index(level))
    assert table.has("plus") and table.entry("plus") == table.entry("plus", "f32") != table.entry("plus", "f64")
    assert table.has("dot") == (level == "v4_bf16")


def test_an_unreported_level_is_probed_and_then_runs(kernels, monkeypatch):
    """Hypervisors hide avx512_bf16 on processors that have it."""
    monkeypatch.setenv("DLCORE_CPU_LEVEL", "v4_bf16")
    if not probe_level("v4_bf16"):
        with pytest.raises(DeviceError, match="lacks the instructions"):
            kernel_table(folder=kernels)
        return
    table = kernel_table(folder=kernels)
    assert reported_level() == "v4_bf16" or "were tried and work" in table.reason
    b = Builder()
    x, y = (b.leaf(n, "inputs", 64, dtype="bf16") for n in "xy")
    b.call("dot", x, y, b.output("out", 16))
    instance = b.program().bind(table=table)
    rng = np.random.default_rng(0)
    values = [(rng.standard_normal(64).astype(np.float32).view(np.uint32) & 0xFFFF0000).view(np.float32) for _ in "xy"]
    for name, value in zip("xy", values, strict=True):
        instance[name][:] = value.view(np.uint32) >> 16
    instance.run()
    np.testing.assert_allclose(instance["out"].sum(), values[0].astype(float) @ values[1], rtol=1e-5)


def test_a_level_that_the_processor_lacks_is_refused(monkeypatch):
    monkeypatch.setattr(module, "probe_level", lambda level: False)
    monkeypatch.setattr(module, "reported_level", lambda: "v3")
    monkeypatch.setenv("DLCORE_CPU_LEVEL", "v4")
    with pytest.raises(DeviceError, match="lacks the instructions") as e:
        cpu_level()
    assert e.value.expected == "at most v3" and e.value.got == "v4" and e.value.exit_code == 7
    monkeypatch.setenv("DLCORE_CPU_LEVEL", "v9")
    with pytest.raises(DeviceError, match="unknown CPU level"):
        cpu_level()
    monkeypatch.delenv("DLCORE_CPU_LEVEL")
    monkeypatch.setattr(module, "reported_level", lambda: "")
    with pytest.raises(DeviceError, match="older than every level"):
        cpu_level()


def test_the_probe_survives_an_illegal_instruction():
    """The handler that stood before is there again afterwards, and v2, which every test machine has, is found."""
    code = ("import signal, os; hit = []; signal.signal(signal.SIGILL, lambda *_: hit.append(1));"
            "from dlcore.runtime.program import probe_level; print(probe_level('v2'), probe_level('aarch64'));"
            "os.kill(os.getpid(), signal.SIGILL); print(hit)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True False\n[1]\n"


def test_an_older_build_serves_with_what_it_has(tmp_path, monkeypatch):
    if "v4" not in runnable():
        pytest.skip("needs a processor above the build's level")
    monkeypatch.setenv("DLCORE_CPU_LEVEL", "v4")
    build_kernels(tmp_path, ("v2", "v3"))
    table = kernel_table(folder=tmp_path)
    assert table.level == "v3" and table.constants == {"PANEL": 16} and "built up to v3" in table.reason


def test_a_lower_kernel_with_other_constants_is_refused(kernels, monkeypatch):
    """Its panels would not be the plan's."""
    monkeypatch.setenv("DLCORE_CPU_LEVEL", "v3")
    with pytest.raises(DeviceError, match="PANEL differs"):
        kernel_table(folder=kernels).entry("panels")
    monkeypatch.setenv("DLCORE_CPU_LEVEL", "v2")
    with pytest.raises(DeviceError, match="lacks dl_panels_f32_v2"):
        kernel_table(folder=kernels).entry("panels")


def test_what_is_missing_is_named(kernels, tmp_path, monkeypatch):
    with pytest.raises(DeviceError, match="no kernel nowhere for f32"):
        kernel_table(folder=kernels).entry("nowhere")
    assert kernel_table(folder=kernels).lowerings("double")[0]["steps"] == [["plus", ["x", "x"], ["out"]]]
    assert kernel_table(folder=kernels).lowerings("nowhere") == []
    with pytest.raises(DeviceError, match="cannot be read") as e:
        kernel_table(folder=tmp_path)
    assert "python -m dlcore.compiler" in e.value.hint
    (tmp_path / "kernels.json").write_text("{")
    with pytest.raises(DeviceError, match="cannot be read"):
        kernel_table(folder=tmp_path)
    whole = json.loads((kernels / "kernels.json").read_text())
    (tmp_path / "kernels.json").write_text(json.dumps(whole))
    with pytest.raises(DeviceError, match="cannot be loaded"):
        kernel_table(folder=tmp_path).entry("plus")
    (tmp_path / "kernels.json").write_text(json.dumps(whole | {"order": ["aarch64"]}))
    with pytest.raises(DeviceError, match="no kernels for"):
        module.KernelTable(Path(tmp_path))


def test_wide_kernels_come_from_their_own_folder(kernels, monkeypatch):
    monkeypatch.setenv("DLCORE_WIDE_KERNELS", str(kernels))
    assert kernel_table(wide=True).folder == kernels.resolve()
    monkeypatch.setenv("DLCORE_WIDE_KERNELS", "")
    with pytest.raises(DeviceError, match="float64 kernels"):
        kernel_table(wide=True)
