"""PTX instructions of sm_90a: products of 128 threads (`wgmma`), copies by the bulk engine (`cp.async.bulk`), the barriers that
count their bytes (`mbarrier`).

A warpgroup's sums are 128 numbers of a thread, 64 rows by 256 columns together: a tuple, for registers that products fill while
other instructions run may not be touched, and a tuple's are told to the compiler as one.

Source: NVIDIA, Parallel Thread Execution ISA, chapters Asynchronous Warpgroup Level Matrix Instructions, Asynchronous copy,
mbarrier.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.cuda import types
from numba.cuda.extending import intrinsic

from dlcore.compiler.cuda.intrinsics import _KINDS, asm_op, f32, u32
from dlcore.compiler.language import helper

COUNT = 128
SUMS = types.UniTuple(f32, COUNT)


# ---- products ----------------------------------------------------------------------------------------------------
def _tied(name: str, text: str, ins: str) -> Any:
    """A function of an instruction that changes the sums in place: (sums, more arguments) -> sums; $256 ... are the arguments
    behind the sums that were, which have the same registers."""
    kinds = [ir.FloatType()] * COUNT
    constraints = ",".join([*["=f"] * COUNT, *(str(n) for n in range(COUNT)), *ins, "~{memory}"])
    signature = SUMS(SUMS, *(_KINDS[c][0] for c in ins))

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = ir.FunctionType(ir.LiteralStructType(kinds), kinds + [_KINDS[c][1] for c in ins])
        old = [builder.extract_value(args[0], n) for n in range(COUNT)]
        made = builder.call(ir.InlineAsm(kind, text, constraints, side_effect=True), [*old, *args[1:]])
        return context.make_tuple(builder, sig.return_type, [builder.extract_value(made, n) for n in range(COUNT)])

    space: dict[str, Any] = {"answer": (signature, generate)}
    exec(f"def {name}(typing, sums{''.join(f', a{n}' for n in range(len(ins)))}):\n    return answer\n", space)
    return intrinsic(space[name])


def warpgroup_product(turned_a: bool, turned_b: bool) -> Any:
    """(sums, descriptor of 64 by 16, descriptor of 256 by 16) -> sums; turned: neighbours in memory are not those along k."""
    registers = ",".join(f"${n}" for n in range(COUNT))
    text = "wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 {%s}, $256, $257, 1, 1, 1, %d, %d;"
    return _tied("warpgroup_product", text % (registers, turned_a, turned_b), "ll")


warpgroup_fence = _tied("warpgroup_fence", "wgmma.fence.sync.aligned;", "")  # before products, once the sums were touched
warpgroup_wait = _tied("warpgroup_wait", "wgmma.wait_group.sync.aligned 0;", "")  # until products are done that were closed
warpgroup_wait_but_1 = _tied("warpgroup_wait_but_1", "wgmma.wait_group.sync.aligned 1;", "")  # but for the last that were closed
show_to_products = asm_op("show_to_products", "fence.proxy.async.shared::cta;", "", "")  # what this thread wrote
warpgroup_close = asm_op("warpgroup_close", "wgmma.commit_group.sync.aligned;", "", "")


@intrinsic
def no_sums(typing: Any) -> Any:
    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return context.make_tuple(builder, sig.return_type, [ir.Constant(ir.FloatType(), 0.0)] * COUNT)

    return SUMS(), generate


@intrinsic
def spread(typing: Any, sums: Any, array: Any) -> Any:
    """The sums into an array in registers."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        data = context.make_array(sig.args[1])(context, builder, value=args[1]).data
        for n in range(COUNT):
            place = builder.gep(data, [ir.Constant(ir.IntType(32), n)], source_etype=ir.FloatType())
            builder.store(builder.extract_value(args[0], n), place)
        return context.get_dummy_value()

    return types.void(sums, array), generate


# ---- copies and their barriers -----------------------------------------------------------------------------------
# A barrier is 8 bytes of shared memory.  It changes its phase when so many threads have arrived as it was made for and all bytes
# that they announced have come.
barrier_make = asm_op("barrier_make", "mbarrier.init.shared::cta.b64 [$0], $1;", "", "rr")  # for so many threads
barriers_made = asm_op("barriers_made", "fence.mbarrier_init.release.cluster;", "", "")  # before the bulk engine sees them
announce = asm_op("announce", "mbarrier.arrive.expect_tx.shared::cta.b64 _, [$0], $1;", "", "rr")  # so many bytes; and arrives
_phase_is_over = asm_op(
    "_phase_is_over",
    "{ .reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [$1], $2; selp.b32 $0, 1, 0, p; }",
    "r",
    "rr",
)
copy_bulk = asm_op(  # to shared memory, from global memory, bytes, the barrier that is told of them; by one thread
    "copy_bulk",
    "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [$0], [$1], $2, [$3];",
    "",
    "rlrr",
)


@helper
def await_phase(barrier, parity):
    """Until the barrier's phase of that parity is over: 0 is its first, then 1, 0, ..."""
    while _phase_is_over(barrier, parity) == u32(0):
        pass
