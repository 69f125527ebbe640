"""The little language: what it reads, what it refuses, and where its errors point."""
import pytest

from dlcore.errors import ShapeError, SpecError
from dlcore.graph.spec import Spec, chunks, condition, holds

LAYERNORM = ("layernorm_forward(x: F[N, C], weight: f32[C], bias: f32[C]?, eps: f32"
             " -> out: F[N, C], mean: f32[N], +rstd: f32[N]; work: f32[CHUNKS, C])")


def test_items():
    spec = Spec(LAYERNORM, "N in CHUNKS", flops="8 * N * C", F=("f32", "bf16"))
    assert spec.name == "layernorm_forward"
    assert [(i.name, i.kind, i.dtype, i.optional) for i in spec.items] == [
        ("x", "read", "F", False), ("weight", "read", "f32", False), ("bias", "read", "f32", True), ("eps", "read", "f32", False),
        ("out", "out", "F", False), ("mean", "out", "f32", False), ("rstd", "add", "f32", False), ("work", "work", "f32", False)]
    assert [i.name for i in spec.arguments] == ["x", "weight", "bias", "eps"]
    assert [i.name for i in spec.outputs] == ["out", "mean", "rstd"]
    assert [i.name for i in spec.added] == ["rstd"]
    assert [i.name for i in spec.scalars] == ["eps"]
    assert spec.sizes == ("N", "C", "CHUNKS")
    assert (spec.axis, spec.sliced, spec.chunked, spec.grid) == ("N", "N", "N", 1)
    assert spec.value(spec.extent, {"CHUNKS": 5}) == 5
    assert spec.value(spec.flops, {"N": 3, "C": 7}) == 168


def test_updates_are_arguments_and_outputs():
    spec = Spec("adam(gradient: f32[S], lr: f32 -> ~weight: f32[S], ~m: f32[S])", "S")
    assert [i.name for i in spec.arguments] == ["gradient", "lr", "weight", "m"]
    assert [i.name for i in spec.outputs] == ["weight", "m"]
    assert spec.grid == 64


@pytest.mark.parametrize("over, sliced, extent, grid", [
    ("N", "N", 40, 1), ("ceil(C / PANEL) * N", "", 80, 1), ("1", "", 1, 1), ("", "", 0, 1), ("N in CHUNKS", "N", 2, 1)])
def test_over(over, sliced, extent, grid):
    spec = Spec("f(x: F[N, C], y: F[CHUNKS, C] -> out: F[N, C])", over)
    dims = {"N": 40, "C": 17, "PANEL": 16, "CHUNKS": 2}
    assert (spec.sliced, spec.value(spec.extent, dims), spec.grid) == (sliced, extent, grid)


def test_level_constants_are_no_dims():
    spec = Spec("pack(b: G[K, N] -> panels: G[ceil(N / PANEL), K, PANEL])", "ceil(N / PANEL)")
    assert spec.symbols({"PANEL"}) == ("K", "N")
    dims = spec.solve({"b": (7, 33)}, {}, {"PANEL": 16})
    assert spec.shape(spec.outputs[0], dims) == (3, 7, 16)
    multiply = Spec("multiply(a: F[M, K], panels: F[P, K, PANEL] -> out: F[M, N])", "M")
    with pytest.raises(ShapeError, match="PANEL = 16"):
        multiply.solve({"a": (2, 7), "panels": (3, 7, 8)}, {"N": 33}, {"PANEL": 16})


def test_chunks_depend_on_the_shape_alone():
    assert [chunks(n) for n in (1, 15, 16, 47, 48, 511, 512, 10 ** 9)] == [1, 1, 1, 2, 3, 31, 32, 32]
    spec = Spec("parts(x: F[N, C] -> parts: F[CHUNKS, C])", "N in CHUNKS")
    assert spec.solve({"x": (100, 3)})["CHUNKS"] == 6
    other = Spec("add(parts: F[CHUNKS, C] -> out: F[C])", "C")     # a size like any other where it is not the axis
    assert other.solve({"parts": (100, 3)})["CHUNKS"] == 100


def test_sizes_that_only_an_absent_array_shows_are_zero():
    spec = Spec("f(x: F[N, C], extra: F[N, K]?, bias: F[C]? -> out: F[N, C])", "N")
    dims = spec.solve({"x": (2, 3)})
    assert (dims["K"], dims["C"]) == (0, 3)


def test_a_size_that_nothing_shows_is_asked_for():
    spec = Spec("spread(x: F[C] -> +out: F[N, C])", "N")
    with pytest.raises(SpecError, match="nothing tells the size N") as e:
        spec.shape(spec.outputs[0], spec.solve({"x": (3,)}))
    assert "N=..." in e.value.hint
    assert spec.shape(spec.outputs[0], spec.solve({"x": (3,)}, {"N": 4})) == (4, 3)
    with pytest.raises(SpecError, match="no size B"):
        spec.solve({"x": (3,)}, {"B": 4})


def test_misfits_name_argument_expected_and_got():
    spec = Spec(LAYERNORM, "N")
    with pytest.raises(ShapeError) as e:
        spec.solve({"x": (4, 5), "weight": (6,)})
    text = str(e.value)
    assert "weight" in text and "C = 5" in text and "from x [4, 5]" in text and "[6]" in text and e.value.exit_code == 4
    with pytest.raises(ShapeError, match="x has a shape"):
        spec.solve({"x": (4, 5, 6)})


def test_variants_and_their_names():
    spec = Spec("f(x: F[N], y: G[N] -> out: F[N])", "N", F=("f32", "bf16"), G=("f32", "u8"))
    assert spec.variants() == [{"F": "f32", "G": "f32"}, {"F": "f32", "G": "u8"}, {"F": "bf16", "G": "f32"},
                               {"F": "bf16", "G": "u8"}]
    assert [spec.key(v) for v in spec.variants()] == ["f32_f32", "f32_u8", "bf16_f32", "bf16_u8"]
    assert [spec.key(v) for v in spec.variants(wide=True)] == ["f64_f64", "f64_u8"]
    plain = Spec("f(x: f32[N], ids: i32[N] -> out: f32[N])", "N")
    assert plain.variants(True) == [{}] and plain.key({}) == "f32" and plain.key({}, True) == "f64"
    assert plain.dtype(plain.arrays[0], {}, True) == "f64" and plain.dtype(plain.arrays[1], {}, True) == "i32"


@pytest.mark.parametrize("text, over, at, message", [
    ("f(x: F[N] -> out: q[N])", "N", "q[N])", "unknown dtype 'q'"),
    ("f(x: F[n] -> out: F[N])", "N", "n]", "expected a size"),
    ("f(x: F[N -> out: F[N])", "N", "-> out", "expected ']'"),
    ("f(x: F[N] -> out: F[N]) x", "N", "x", "nothing may follow"),
    ("f(x: F[N] -> x: F[N])", "N", "x: F[N])", "stands twice"),
    ("f(+x: F[N] -> out: F[N])", "N", "+x", "before outputs only"),
    ("f(x: F[N] -> out: F[N]; ~w: F[N])", "N", "~w", "before outputs only"),
    ("f(x: F[N] -> out: F)", "N", ")", "a scalar can only be read"),
    ("f(x: u8 -> out: F[N])", "", "-> out", "a scalar is one of"),
    ("f(x: F[N] -> out: F[N]; w: F[N]?)", "N", "?)", "scratch is never absent"),
    ("f(X: F[N] -> out: F[N])", "N", "X:", "is a size"),
    ("f(begin: i64 -> out: F[N])", "N", "begin", "reserved"),
    ("f(add_out: i64 -> out: F[N])", "N", "add_out", "reserved"),
    ("f(lambda: F[N] -> out: F[N])", "N", "lambda", "reserved"),
    ("f(x: F[ceil(N, 2)] -> out: F[N])", "N", ", 2)", "expected '/'"),
    ("f(x F[N] -> out: F[N])", "N", "F[N] ->", "expected ':'"),
    ("f(x: F[N] -> out: F[N]", "N", "", "expected ')', found the end"),
    ("", "N", "", "expected the call's name"),
    ("f(x: F[N] -> out: F[2 *])", "N", "])", "expected a size")])
def test_errors_point_into_the_string(text, over, at, message):
    with pytest.raises(SpecError) as e:
        Spec(text, over)
    head, line, caret = str(e.value).split("\n")[:3]
    assert message in head
    assert line == "  " + text
    position = len(caret) - 3
    assert caret.strip() == "^" and text[position:].startswith(at) and (at or position == len(text))


@pytest.mark.parametrize("over, message", [
    ("M", "no array is led by M"), ("N in M", "over='N in M'"), ("2 * N in CHUNKS", "over="), ("N +", "expected a size"),
    ("N N", "expected the end")])
def test_over_is_checked(over, message):
    with pytest.raises(SpecError, match=message):
        Spec("f(x: F[N] -> out: F[N])", over)


def test_lists_of_dtypes_are_checked():
    with pytest.raises(SpecError, match="must list dtypes"):
        Spec("f(x: F[N] -> out: F[N])", "N", F=("float",))


def test_conditions():
    assert holds(condition("M <= 96 and N % 16 == 0 or not K > 3"), {"M": 5, "N": 32, "K": 9})
    assert not holds(condition("M <= 96"), {"M": 97})
    for text in ("__import__('os')", "M.x", "M <=", "[M]", "lambda: 1"):
        with pytest.raises(SpecError):
            condition(text)
    with pytest.raises(SpecError, match="names Q"):
        holds(condition("Q < 1"), {"M": 1})
