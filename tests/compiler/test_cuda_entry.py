"""The entry of a CUDA kernel: how its arrays are cut, and what is refused.  No CUDA tools are needed for its text."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dlcore.compiler.cuda import entry, toolkit
from dlcore.compiler.cuda.language import CudaKernel, kernel
from dlcore.errors import SpecError
from dlcore.graph.spec import Spec


def entry_of(python, text, over, kind="each", axes="", **options):
    return entry.build(CudaKernel("k", python, kind, axes, **options), Spec(text, over))


def test_an_element_for_each_thread():
    def k(x, factor, out, add_out):
        pass

    made = entry_of(k, "k(x: i32[S], factor: f32 -> +out: F[S])", "S")
    assert made.blocks == "ceil(S, 256)" and made.block == 256
    assert "def entry(S, p_x, p_out, scalars)" in made.text and "if item < S:" in made.text
    assert "view(p_x, 0 + (at_S) * (1), (int64(1),))" in made.text
    assert "float_of(scalars[0])" in made.text and "scalars[1] != 0" in made.text


def test_four_elements_of_float32_for_each_thread():
    def k(x, status, out, moved, add_out):
        pass

    made = entry_of(k, "k(x: F[S], status: i64[1] -> +out: F[S], ~moved: F[S])", "S")
    assert made.blocks == "ceil(ceil(S, 4), 256)" and "first = 4 * item" in made.text
    assert "if first + 4 <= S and (address_of(view(p_x, 0, (int64(1),))) | " in made.text
    assert "if scalars[0] != 0:\n            four_out[0], " in made.text
    assert "body(four_x, view(p_status, 0, (int64(1),)), four_out, four_moved, scalars[0] != 0)" in made.text
    assert made.text.count("        store_4(") == 2 and "for at_S in range(first, min(first + 4, S)):" in made.text


@pytest.mark.parametrize("text", ["k(x: F[S]?, y: F[S] -> out: F[S])", "k(x: F[2, S], y: F[S] -> out: F[S])",
                                  "k(x: bf16[S], y: F[S] -> out: F[S])"])  # fmt: skip
def test_four_elements_are_not_served_where_arrays_differ(text):
    def k(x, y, out):
        pass

    assert "if item < S:" in entry_of(k, text, "S").text


def test_two_axes():
    def k(x, y, out):
        pass

    made = entry_of(k, "k(x: F[N, C], y: F[C]? -> out: F[N, C])", "N", axes="N, C")
    assert made.blocks == "ceil(N * C, 256)"
    assert "at_C = item - rest_0 * C" in made.text and "at_N = rest_0" in made.text
    assert "0 + (at_N) * (1 * (C)) + (at_C) * (1)" in made.text
    assert "(0 if is_null(p_y) else 1)" in made.text


def test_a_column_of_a_chunk_is_strided():
    def k(x, parts):
        pass

    made = entry_of(k, "k(x: F[N, C] -> parts: F[CHUNKS, C])", "N in CHUNKS", axes="CHUNKS, C")
    assert "row_0 = at_CHUNKS * N // CHUNKS" in made.text
    assert "strided_view(p_x, 0 + (row_0) * (1 * (C)) + (at_C) * (1), " in made.text
    assert "(int64(row_1 - row_0), int64(1),), (1 * (C), 1,))" in made.text


def test_a_kernel_with_begin_finds_its_place_itself():
    def k(parts, out, begin, add_out):
        pass

    made = entry_of(k, "k(parts: F[P, C] -> +out: F[C])", "C")
    assert "view(p_parts, 0, (int64(P), int64(C),))" in made.text and "at_C, " in made.text


@pytest.mark.parametrize("kind, over, blocks", [
    ("warps", "N", "ceil(N, 8)"), ("blocks", "ceil(N / 64) * ceil(C / 64)", "ceil(N, 64) * ceil(C, 64)"),
    ("threads", "N * ceil(C / 4)", "ceil(N * ceil(C, 4), 256)")])  # fmt: skip
def test_numbers_of_threads_warps_and_blocks(kind, over, blocks):
    def k(item, x, out):
        pass

    assert entry_of(k, "k(x: F[N, C] -> out: F[N, C])", "N", kind, over).blocks == blocks


def test_what_does_not_fit_is_refused():
    def stranger(x, out, nothing):
        pass

    def silent(x):
        pass

    with pytest.raises(SpecError, match="parameter 'nothing' is not in its spec"):
        entry_of(stranger, "k(x: F[S] -> out: F[S])", "S")
    with pytest.raises(SpecError, match="takes no 'out'"):
        entry_of(silent, "k(x: F[S] -> out: F[S])", "S")
    with pytest.raises(SpecError, match="one of them"):
        kernel(threads="N", warps="N")


def test_three_files_know_numba_cuda():
    """What changes there with a version of numba-cuda is mended in these."""
    package, known = Path(entry.__file__).resolve().parents[2], {"toolkit.py", "intrinsics.py", "vectors.py"}
    sources = [*(package / "compiler" / "cuda").glob("*.py"), *package.glob("*/*/cuda*.py")]
    found = {p.name for p in sources if re.search(r"^\s*(from|import) numba", p.read_text(encoding="utf-8"), re.M)}
    assert len(sources) > 60 and found == known


def test_ptxas_report_is_read():
    text = """ptxas info    : Compiling entry function 'k' for 'sm_80'
    8 bytes stack frame, 12 bytes spill stores, 16 bytes spill loads
ptxas info    : Used 40 registers, used 1 barriers, 8 bytes cumulative stack size, 4096 bytes smem"""
    assert toolkit.report(text) == {"registers": 40, "stack": 8, "spills": 28, "shared": 4096}
