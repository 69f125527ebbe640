"""The decorators, and bf16 and float bits."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from compiler.harness import ROOT

from dlcore.compiler import language, levels
from dlcore.errors import SpecError


def test_importing_the_language_imports_no_numba() -> None:
    code = "import dlcore.compiler.language, sys; assert not {'numba', 'llvmlite'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_constants_are_the_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    assert language.constant("PANEL") == levels.C99.constants["PANEL"]
    monkeypatch.setenv(levels.LEVEL_VARIABLE, "v3")
    assert language.constant("TILE") == levels.LEVELS["v3"].constants["TILE"]
    with pytest.raises(SpecError, match="no level constant 'WIDTH'"):
        language.constant("WIDTH")


def test_a_kernel_serves_its_levels_and_dtypes() -> None:
    plain = language.Kernel("k", print)
    special = language.Kernel("k", print, levels=("v4_bf16",), dtypes=("bf16",))
    v4, bf16 = levels.LEVELS["v4"], levels.LEVELS["v4_bf16"]
    assert plain.serves(v4, "f32") and not plain.serves(bf16, "f32")
    assert special.serves(bf16, "bf16") and not special.serves(bf16, "f32") and not special.serves(v4, "bf16")


def test_wide_reads_float32_as_float64() -> None:
    from dlcore.compiler.emit import widened

    def third(x):
        return np.float32(1) / np.float32(3) + x

    assert widened(third)(np.float64(0)) == np.float64(1) / 3 != third(np.float64(0))


def test_bf16_rounds_to_nearest_even() -> None:
    import numba

    from dlcore.compiler.simd import bf16_from_float, float_from_bf16

    @numba.njit
    def there(x):
        return bf16_from_float(x)

    @numba.njit
    def back(x):
        return float_from_bf16(x)

    bits = np.concatenate(
        [
            np.random.default_rng(0).integers(0, 2**32, 20000, np.uint32),
            np.uint32(
                [0x3F808000, 0x3F818000, 0x3F808001, 0x7F7FFFFF, 0x7F800000, 0xFF800000, 0x7F800001, 0xFFFFFFFF, 0]
            ),
        ]
    )
    for b in bits:
        x = b.view(np.float32)
        got = there(x)
        if np.isnan(x):
            assert np.isnan(back(got))
            continue
        low = np.uint64(b) & ~np.uint64(0xFFFF)
        half = np.uint64(b) - low
        up = half > 0x8000 or half == 0x8000 and low >> np.uint64(16) & np.uint64(1)
        assert got == (low >> np.uint64(16)) + up, hex(b)
        assert back(got) == np.uint32(got << 16).view(np.float32) or np.isinf(back(got))
