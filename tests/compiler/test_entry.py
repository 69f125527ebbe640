"""The C entry: slices, chunks, sizes, scalars, bits, absent arrays; native code against the kernel in plain Python."""

from __future__ import annotations

import numpy as np
import pytest
from compiler import toy_room
from compiler.conftest import LOWEST
from compiler.harness import Case, Library, assert_same, in_python, random_case

from dlcore.compiler.language import KERNELS

TOYS = sorted(n for n, kernels in KERNELS.items() if kernels[0].python.__module__ == toy_room.__name__)


def cases(library: Library, name: str, **options: object) -> list[Case]:
    spec, wide = library.spec(name), library.table["wide"]
    rng = np.random.default_rng(3)
    return [
        random_case(spec, bound, library.constants(LOWEST), rng, wide=wide, **options) for bound in spec.variants(wide)
    ]


@pytest.fixture(params=["plain", "wide"])
def library(request: pytest.FixtureRequest, toy: Library, toy_wide: Library) -> Library:
    return toy if request.param == "plain" else toy_wide


@pytest.fixture(autouse=True)
def constants_of_the_level(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toy_room, "PANEL", library.constants(LOWEST)["PANEL"])


@pytest.mark.parametrize("name", TOYS)
@pytest.mark.parametrize("absent", [False, True])
def test_native_code_agrees_with_python(library: Library, name: str, absent: bool) -> None:
    for case in cases(library, name, absent=absent):
        wanted = case.copy()
        in_python(KERNELS[name][0], wanted)
        library.run(case, LOWEST)
        assert_same(case, wanted, 2e-6, f"{name} {case.dtypes}")


@pytest.mark.parametrize("name", ["toy_affine", "toy_chunks", "toy_packed", "toy_bytes", "toy_flow"])
def test_cuts_give_the_same_bits(library: Library, name: str) -> None:
    for case in cases(library, name, sizes={"S": 200, "N": 133}):
        whole = case.copy()
        library.run(whole, LOWEST)
        for cuts in (2, 3, 7):
            cut = case.copy()
            grid = case.spec.grid
            places = sorted(
                {min(case.extent, case.extent * c // cuts // grid * grid) for c in range(cuts)} | {case.extent}
            )
            for begin, end in zip(places[:-1], places[1:], strict=True):
                library.run(cut, LOWEST, begin, end)
            for array, wanted in whole.written().items():
                np.testing.assert_array_equal(cut.written()[array], wanted, err_msg=f"{name}: {array} in {cuts} shares")


def test_an_empty_range_touches_nothing(library: Library) -> None:
    for name in ("toy_affine", "toy_chunks", "toy_global"):
        case = cases(library, name)[0]
        before = case.copy()
        library.run(case, LOWEST, 1, 1)
        for array, wanted in before.written().items():
            np.testing.assert_array_equal(case.written()[array], wanted)


def test_a_status_leaves_everything_as_it_is(library: Library) -> None:
    case = cases(library, "toy_update")[0]
    case.arrays["status"] = np.array([1])
    before = case.copy()
    library.run(case, LOWEST)
    for array, wanted in before.written().items():
        np.testing.assert_array_equal(case.written()[array], wanted)
