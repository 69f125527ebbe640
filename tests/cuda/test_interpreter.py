"""The interpreter itself: faults planted in the PTX that ships, or in a few lines of it, must be seen."""

from __future__ import annotations

import re

import numpy as np
import pytest
from ptx.device import Emulated
from ptx.machine import launch
from ptx.memory import Memory
from ptx.parse import PtxError, parse
from ptx.products import block_sizes, in_blocks

from dlcore.graph import Graph, plan
from dlcore.ops import matmul
from dlcore.runtime.cuda_table import cuda_table

SEEDS = (None, 1, 2, 3)  # in step, and in random orders


def replaced(text: str, pattern: str, by: str, count: int = 0) -> str:
    made, n = re.subn(pattern, by, text, count=count)
    assert n, f"nothing to plant: {pattern}"
    return made


def transposed(ptx: str, shuffle: int | None = None) -> bool:
    """Runs `transpose` on 40 by 70; is the result right?"""
    memory, x = Memory(1 << 17), np.arange(2800, dtype=np.float32).reshape(40, 70)
    source, _ = memory.put(x)
    target, out = memory.put(np.zeros((70, 40), np.float32))
    flags, _ = memory.put(np.zeros(1, np.int64))
    launch(ptx, 2 * 3, 256, [40, 70, source, target, flags], memory, shuffle)
    return np.array_equal(out, x.T)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_kernel_itself_is_right(seed):
    assert transposed(cuda_table().ptx("transpose"), seed)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_dropped_barrier_is_a_race(seed):
    with pytest.raises(PtxError, match="a race: shared byte"):
        transposed(replaced(cuda_table().ptx("transpose"), r"bar\.sync\s+0;", ""), seed)


def test_a_missing_tail_leaves_the_array():
    """`add_row` without the test whether there is an element for the thread."""
    ptx = replaced(cuda_table().ptx("add_row"), r"@%p1 bra [^;]*;", "", count=1)
    memory = Memory(1 << 16)
    arguments = [10, 10, *(memory.put(np.ones(n, np.float32))[0] for n in (100, 10, 100)), memory.put(np.zeros(1, np.int64))[0]]
    launch(cuda_table().ptx("add_row"), 1, 256, arguments, memory)
    with pytest.raises(PtxError, match="global memory that no array of this launch owns"):
        launch(ptx, 1, 256, arguments, memory)


@pytest.mark.parametrize("offset, message", [(4096, "no array of this launch owns"), (4, "misaligned")])
def test_a_wrong_address_is_seen(offset, message):
    """Of four neighbours, which lie at multiples of 16 bytes."""
    ptx = replaced(cuda_table().ptx("scale"), r"(st\.global\.v4\.f32\s+\[%rd\d+)\]", rf"\1+{offset}]")
    memory = Memory(1 << 16)
    source, _ = memory.put(np.ones(256, np.float32))
    target, _ = memory.put(np.zeros(256, np.float32))
    scalars, _ = memory.put(np.zeros(2, np.int64))
    with pytest.raises(PtxError, match=message):
        launch(ptx, 1, 256, [256, source, target, scalars], memory)


def product(ptx: str, blocks: int, shuffle: int | None) -> float:
    """The error of 70 by 66 by 40."""
    rng, memory = np.random.default_rng(0), Memory(1 << 18)
    a, b = rng.standard_normal((70, 40)).astype(np.float32), rng.standard_normal((40, 66)).astype(np.float32)
    places = [memory.put(v)[0] for v in (a, b)]
    target, out = memory.put(np.zeros((70, 66), np.float32))
    flags, _ = memory.put(np.zeros(1, np.int64))
    launch(ptx, blocks, 128, [70, 40, 66, *places, target, flags], memory, shuffle)
    return float(np.abs(out - a @ b).max())


@pytest.mark.parametrize("name, blocks, count", [("matmul_nn", 9, 1), ("matmul_nn_middle", 4, 3)])
def test_each_barrier_of_a_product_is_needed(name, blocks, count):
    """And each wait for copies."""
    ptx = cuda_table().ptx(name)
    assert product(ptx, blocks, 2) < 1e-4
    late = re.sub(r"cp\.async\.wait_group\s+1;", "cp.async.wait_group 2;", ptx)
    assert late != ptx
    try:
        found = product(late, blocks, 2)
    except PtxError as e:
        assert "a race" in str(e)
    else:
        assert not found < 1e-4
    barriers = [m.span() for m in re.finditer(r"bar\.sync\s+0;", ptx)]
    assert len(barriers) == count
    for begin, end in barriers:
        with pytest.raises(PtxError, match="a race"):
            product(ptx[:begin] + ptx[end:], blocks, 2)


HEAD = ".version 9.0\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u64 k_in, .param .u64 k_out)\n{\n"
REGISTERS = ".reg .b32 %r<20>; .reg .b64 %rd<20>; .reg .pred %p<5>; .reg .f32 %f<5>; .shared .align 16 .b8 s[2048];\n"
COPY = """
 ld.param.u64 %rd1, [k_in]; ld.param.u64 %rd2, [k_out];
 mov.u32 %r1, %tid.x; mul.wide.u32 %rd3, %r1, 16; add.s64 %rd4, %rd1, %rd3; add.s64 %rd5, %rd2, %rd3;
 shl.b32 %r2, %r1, 4; mov.u32 %r3, s; add.u32 %r4, %r3, %r2; add.u32 %r5, %r4, 1024;
 cp.async.cg.shared.global [%r4], [%rd4], 16; cp.async.commit_group;
 cp.async.cg.shared.global [%r5], [%rd4], 16; cp.async.commit_group;
 cp.async.wait_group 1;
 ld.shared.v4.u32 {%r6, %r7, %r8, %r9}, [%r4];
 st.global.v4.u32 [%rd5], {%r6, %r7, %r8, %r9};
 ret;
}
"""


def copied(body: str) -> bool:
    memory, x = Memory(1 << 14), np.arange(256, dtype=np.uint32)
    source, _ = memory.put(x)
    target, out = memory.put(np.zeros(256, np.uint32))
    launch(HEAD + REGISTERS + body, 1, 64, [source, target], memory)
    return np.array_equal(out, x)


def test_copies_land_when_they_are_waited_for():
    assert copied(COPY)
    assert copied(COPY.replace("wait_group 1", "wait_group 0"))
    for late in (COPY.replace("wait_group 1", "wait_group 2"), COPY.replace("cp.async.wait_group 1;", "")):
        with pytest.raises(PtxError, match="while a copy is on its way"):
            copied(late)


@pytest.mark.parametrize("seed", SEEDS)
def test_copies_may_land_at_once(seed):
    """What they overwrite has been read: the barrier that says so comes before they are begun."""
    ptx = cuda_table().ptx("multiply_bf16_nn")
    assert rounded_product(ptx, seed) == 0
    early = replaced(ptx, r"(?s)(cp\.async\.wait_group 1;)\s*(bar\.sync\s+0;)(.*?)(ldmatrix)", r"\1\3\2 \4")
    with pytest.raises(PtxError, match="a race: shared byte [0-9]+ is to be copied to"):
        rounded_product(early, seed)


def test_a_collective_in_divergent_code_never_completes():
    body = """
 mov.u32 %r1, %tid.x; setp.lt.u32 %p1, %r1, 7; @%p1 bra AWAY;
 shfl.sync.bfly.b32 %r2, %r1, 1, 31, -1; bra AWAY2;
AWAY: shfl.sync.bfly.b32 %r2, %r1, 1, 31, -1;
AWAY2: ret;
}
"""
    with pytest.raises(PtxError, match="divergent code"):
        copied(body)


NEIGHBOURS = """
 ld.param.u64 %rd2, [k_out]; mov.u32 %r1, %tid.x; shl.b32 %r2, %r1, 2; mov.u32 %r3, s; add.u32 %r4, %r3, %r2;
 xor.b32 %r5, %r2, 4; add.u32 %r5, %r3, %r5; mul.wide.u32 %rd3, %r1, 4; add.s64 %rd4, %rd2, %rd3;
 st.shared.u32 [%r4], %r1; bar.warp.sync -1; ld.shared.u32 %r6, [%r5];
 bar.warp.sync 0xffffffff; st.shared.u32 [%r4], %r6; st.global.u32 [%rd4], %r6; ret;
}
"""


def test_lanes_meet_before_they_see_what_others_wrote():
    """Each reads the word of its neighbour, then writes its own anew: both need a barrier of the warp, for lanes run apart."""
    assert not copied(NEIGHBOURS)
    with pytest.raises(PtxError, match="a race: shared byte [0-9]+ is read by one lane"):
        copied(NEIGHBOURS.replace("bar.warp.sync -1;", ""))
    with pytest.raises(PtxError, match="a race: shared byte [0-9]+ is written by one lane"):
        copied(NEIGHBOURS.replace("bar.warp.sync 0xffffffff;", ""))
    away = "setp.lt.u32 %p1, %r1, 7; @%p1 bra OUT; bar.warp.sync -1; OUT:"
    for barrier, message in (("bar.warp.sync 0xffff;", "does not name it"), (away, "names lanes that are not here|one lane")):
        with pytest.raises(PtxError, match=message):
            copied(NEIGHBOURS.replace("bar.warp.sync -1;", barrier))


def test_lanes_share_global_memory_as_they_do_shared_memory():
    body = NEIGHBOURS.replace("%r3, s;", "%r3, 0;").replace("st.shared.u32 [%r4], %r1;", "st.global.u32 [%rd4], %r1;")
    load = "cvt.u64.u32 %rd5, %r5; add.s64 %rd5, %rd2, %rd5; ld.global.u32 %r6, [%rd5];"
    body = body.replace("ld.shared.u32 %r6, [%r5];", load)
    assert not copied(body.replace("st.shared.u32 [%r4], %r6; st.global", "st.global"))
    with pytest.raises(PtxError, match="a race: global byte [0-9]+ is read by one lane"):
        copied(body.replace("bar.warp.sync -1;", ""))


@pytest.mark.parametrize("seed", SEEDS)
def test_slices_of_a_warp_need_its_barrier(seed):
    """`matmul_nn`, whose warps copy slices of their own."""
    with pytest.raises(PtxError, match="a race: shared byte [0-9]+ is (read|written) by one lane"):
        product(replaced(cuda_table().ptx("matmul_nn"), r"bar\.warp\.sync[^;]*;", ""), 9, seed)


MEET = "barrier.cluster.arrive.release.aligned; barrier.cluster.wait.acquire.aligned;"
CLUSTER = f"""
 ld.param.u64 %rd2, [k_out]; mov.u32 %r1, %tid.x; mov.u32 %r2, %ctaid.x; xor.b32 %r3, %r2, 1; shl.b32 %r4, %r1, 2;
 mov.u32 %r5, s; add.u32 %r5, %r5, %r4; add.u32 %r8, %r2, 5; {MEET}
 mapa.shared::cluster.u32 %r6, %r5, %r3; st.shared::cluster.u32 [%r6], %r8; {MEET}
 ld.shared.u32 %r7, [%r5]; mad.lo.u32 %r9, %r2, 32, %r1; mul.wide.u32 %rd3, %r9, 4; add.s64 %rd4, %rd2, %rd3;
 st.global.u32 [%rd4], %r7; ret;
}}
"""


@pytest.mark.parametrize("seed", SEEDS)
def test_a_cluster_meets_before_and_behind_what_its_blocks_write_into_each_other(seed):
    """Before, for a block may not have begun; behind, for it may have ended."""
    head = HEAD.replace(")\n{", ")\n.explicitcluster .reqnctapercluster 2, 1, 1\n{")

    def run(body):
        memory = Memory(1 << 14)
        target, out = memory.put(np.zeros(64, np.uint32))
        launch(head + REGISTERS + body, 2, 32, [0, target], memory, seed)
        return out.reshape(2, 32)

    np.testing.assert_array_equal(run(CLUSTER), np.array([[6], [5]]).repeat(32, 1))
    with pytest.raises(PtxError, match="may not have begun"):
        run(CLUSTER.replace(MEET, "", 1))
    last = CLUSTER.rindex(MEET)
    with pytest.raises(PtxError, match="ends while others may reach|a race: shared byte"):
        run(CLUSTER[:last] + CLUSTER[last + len(MEET):])
    with pytest.raises(PtxError, match="ends while others may reach"):
        run(CLUSTER[:last] + CLUSTER[last + len(MEET):].replace("ld.shared.u32 %r7, [%r5];", "mov.u32 %r7, 1;"))


def test_a_barrier_in_divergent_code_never_completes():
    """Half of a warp at one barrier of the block, half at another: a GPU may wait for ever."""
    body = """
 mov.u32 %r1, %tid.x; and.b32 %r2, %r1, 16; setp.eq.u32 %p1, %r2, 0; @%p1 bra AWAY;
 bar.sync 0; bra OUT;
AWAY: bar.sync 0;
OUT: ret;
}
"""
    with pytest.raises(PtxError, match="divergent code"):
        copied(body)


def test_a_copy_of_nothing_is_aligned_too():
    body = COPY.replace("[%r5], [%rd4], 16;", "[%r5], [%rd6], 16, %r10;")
    body = body.replace("shl.b32", "mov.u32 %r10, 0; mov.u64 %rd6, 64; shl.b32")
    assert copied(body)
    with pytest.raises(PtxError, match="a misaligned address of 16 bytes"):
        copied(body.replace("%rd6, 64", "%rd6, 72"))


def test_a_barrier_that_half_the_block_passes_by():
    """Threads that have left are not waited for; those that wait at another barrier for ever are seen."""
    assert not copied(" mov.u32 %r1, %tid.x; setp.lt.u32 %p1, %r1, 32; @%p1 bra OUT; bar.sync 0; OUT: ret;\n}\n")


def test_what_is_not_known_is_said():
    with pytest.raises(PtxError, match="does not know tex"):
        copied(" tex.1d.v4.f32.s32 {%f1, %f2, %f3, %f4}, [%rd1]; ret;\n}\n")
    with pytest.raises(PtxError, match="read before it is written"):
        copied(" add.u32 %r1, %r2, %r3; ret;\n}\n")


def test_a_step_may_touch_its_own_arrays_only():
    """The arena holds more than one step's arrays; another's are as far away as any."""
    graph = Graph()
    a, b = graph.input("a", 8, 8), graph.input("b", 8, 8)
    instance = Emulated(plan(graph, {"out": matmul(a, b)}, table=cuda_table()))
    instance.run()
    step = instance.program.steps[0]
    owned = int(instance.memory.owned.sum())
    assert owned == 512 + 3 * 8 * 8 * 4 and step.kernel == "matmul_nn_small"


def test_shared_memory_is_aligned_as_far_as_it_says():
    """ldmatrix wants 16 bytes: an array that says less may lie anywhere on a GPU."""
    ptx = cuda_table().ptx("multiply_bf16_nn")
    memory = Memory(1 << 17)
    shapes = ((8192, np.uint16), (8192, np.uint16), (256, np.float32))
    arguments = [*block_sizes("nn", 16, 16, 16), *(memory.put(np.zeros(*shape))[0] for shape in shapes)]
    flags, _ = memory.put(np.zeros(1, np.int64))
    launch(ptx, 1, 256, [*arguments, flags], memory)
    with pytest.raises(PtxError, match="misaligned"):
        launch(replaced(ptx, r"\.shared \.align 256", ".shared .align 4"), 1, 256, [*arguments, flags], memory)


def test_parsing_keeps_scopes_apart():
    kernel = parse(HEAD + REGISTERS + " { .reg .b32 %r1; mov.u32 %r1, 5; } mov.u32 %r1, 7; ret;\n}\n")
    assert kernel.code[0].operands[0].name != kernel.code[1].operands[0].name == "%r1"


def test_products_of_64_bits_are_whole():
    """A third by a multiplication, as the compiler writes it: of numbers that differ between threads, and of one for all."""
    body = """
 ld.param.u64 %rd1, [k_in]; ld.param.u64 %rd2, [k_out]; mov.u32 %r1, %tid.x; mul.wide.u32 %rd3, %r1, 8; add.s64 %rd4, %rd2, %rd3;
 mov.u64 %rd5, 100; mul.hi.s64 %rd6, %rd5, 6148914691236517206;
 cvt.u64.u32 %rd7, %r1; mul.hi.s64 %rd8, %rd7, 6148914691236517206; add.s64 %rd9, %rd6, %rd8; st.global.u64 [%rd4], %rd9; ret;
}
"""
    memory = Memory(1 << 14)
    target, out = memory.put(np.zeros(64, np.int64))
    launch(HEAD + REGISTERS + body, 1, 64, [0, target], memory)
    np.testing.assert_array_equal(out, 33 + np.arange(64) // 3)


def rounded_product(ptx: str, shuffle: int | None) -> float:
    """The error of 40 by 24 by 200 from operands of small whole numbers, which bf16 holds."""
    rng, memory = np.random.default_rng(0), Memory(1 << 18)
    a, b = (rng.integers(-4, 5, s).astype(np.float32) for s in ((40, 200), (200, 24)))
    places = [memory.put(in_blocks(v))[0] for v in (a, b)]
    target, out = memory.put(np.zeros((40, 24), np.float32))
    flags, _ = memory.put(np.zeros(1, np.int64))
    launch(ptx, 1, 256, [*block_sizes("nn", 40, 24, 200), *places, target, flags], memory, shuffle)
    return float(np.abs(out - a @ b).max())


@pytest.mark.parametrize("pattern, by", [
    (r"cp\.async\.wait_group 1;", ""), (r"cp\.async\.wait_group 1;", "cp.async.wait_group 2;"), (r"bar\.sync\s+0;", ""),
    (r"cp\.async\.commit_group;", ""),
], ids=["no wait", "a wait for one too few", "no barrier", "no groups"])  # fmt: skip
def test_faults_in_a_pipeline_of_copies(pattern, by):
    """Wrong numbers, or a race, in step or in one of a few random orders."""
    ptx = cuda_table().ptx("multiply_bf16_nn")
    assert rounded_product(ptx, 1) == 0
    seen = False
    for seed in SEEDS:
        try:
            seen = seen or rounded_product(replaced(ptx, pattern, by), seed) > 0
        except PtxError as error:
            assert "a race" in str(error)
            seen = True
    assert seen
