"""PTX instructions of sm_90a: products of 128 threads (`wgmma`), copies by the bulk engine (`cp.async.bulk`), the barriers that
count their bytes (`mbarrier`).

A warpgroup's sums are 128 numbers of a thread, 64 rows by 256 columns together: a tuple, for registers that products fill while
other instructions run may not be touched, and a tuple's are told to the compiler as one.

Source: NVIDIA, Parallel Thread Execution ISA, chapters Asynchronous Warpgroup Level Matrix Instructions, Asynchronous copy,
mbarrier.
"""

from __future__ import annotations

from typing import Any

from dlcore.compiler.cuda.intrinsics import KINDS, asm_op, f32, intrinsic, ir, types, u32
from dlcore.compiler.language import helper

COUNT = 128
F32, I32, I64 = ir.FloatType(), ir.IntType(32), ir.IntType(64)
SUMS = types.UniTuple(f32, COUNT)


# ---- products ----------------------------------------------------------------------------------------------------
def _tied(name: str, text: str, ins: str) -> Any:
    """A function of an instruction that changes the sums in place: (sums, more arguments) -> sums; $256 ... are the arguments
    behind the sums that were, which have the same registers."""
    kinds = [ir.FloatType()] * COUNT
    constraints = ",".join([*["=f"] * COUNT, *(str(n) for n in range(COUNT)), *ins, "~{memory}"])
    signature = SUMS(SUMS, *(KINDS[c][0] for c in ins))

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = ir.FunctionType(ir.LiteralStructType(kinds), kinds + [KINDS[c][1] for c in ins])
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


def run_of_products(name: str, products: list[tuple[Any, ...]]) -> Any:
    """name(sums_1, left_1, descriptor_1, ...): sums of products, each (columns, steps, span, step, far, turned, added, shared).

    One statement of assembly, with the fence before its products and the wait behind them: no other instruction can come between
    and touch a register that they use.

    steps   products of 16 along the sum; left[steps, 4] their left sides, or, where these are `shared`, a descriptor too
    span    steps that lie within 64 columns, `step` apart in the descriptor's 16 bytes; `far`: from 64 columns to the next
    added   to what sums[columns / 8, 4] hold"""
    lines, number = ["{ .reg .b64 c; .reg .b64 d; wgmma.fence.sync.aligned;"], 0
    constraints: list[str] = []
    kinds: list[Any] = []
    sums: list[range] = []
    for columns, *_ in products:
        sums.append(range(number, number + columns // 2))
        number += columns // 2
    constraints += ["=&f"] * number
    tied = [n for (*_, added, _), own in zip(products, sums, strict=True) if added for n in own]
    constraints += [str(n) for n in tied]
    kinds += [F32] * len(tied)
    number += len(tied)
    for (columns, steps, span, step, far, turned, added, shared), own in zip(products, sums, strict=True):
        registers, right = ",".join(f"${n}" for n in own), number + (1 if shared else 4 * steps)
        for k in range(steps):
            registers_of_left, further = ",".join(f"${number + 4 * k + r}" for r in range(4)), k // span * far + k % span * step
            left = (f"add.s64 c, ${number}, {further}; ", "c", "0, ") if shared else ("", f"{{{registers_of_left}}}", "")
            lines.append(f"{left[0]}add.s64 d, ${right}, {further}; wgmma.mma_async.sync.aligned.m64n{columns}k16"
                         f".f32.bf16.bf16 {{{registers}}}, {left[1]}, d, {int(added or k > 0)}, 1, 1, {left[2]}{int(turned)};")
        constraints += ["l", "l"] if shared else ["r"] * (4 * steps) + ["l"]
        kinds += [I64, I64] if shared else [I32] * (4 * steps) + [I64]
        number = right + 1
    lines.append("wgmma.commit_group.sync.aligned; wgmma.wait_group.sync.aligned 0; }")
    return _function(name, " ".join(lines), ",".join([*constraints, "~{memory}"]), kinds, sums, products)


def _function(name: str, text: str, constraints: str, kinds: list[Any], sums: list[range], products: list[tuple[Any, ...]]) -> Any:
    """Sums and left sides are arrays in registers: read from and written to where they are."""
    def place(builder: Any, data: Any, n: int, kind: Any) -> Any:
        return builder.gep(data, [ir.Constant(I32, n)], source_etype=kind)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        data = [context.make_array(kind)(context, builder, value=x).data if isinstance(kind, types.Array) else x
                for kind, x in zip(sig.args, args, strict=True)]
        given = []
        for m, (*_, added, _) in enumerate(products):
            if added:
                given += [builder.load(place(builder, data[3 * m], n, F32), typ=F32) for n in range(len(sums[m]))]
        for m, (_, steps, *_, shared) in enumerate(products):
            given += [data[3 * m + 1]] if shared else [
                builder.load(place(builder, data[3 * m + 1], n, I32), typ=I32) for n in range(4 * steps)]
            given.append(data[3 * m + 2])
        kind = ir.FunctionType(ir.LiteralStructType([F32] * sum(map(len, sums))), kinds)
        made = builder.call(ir.InlineAsm(kind, text, constraints, side_effect=True), given)
        for m, own in enumerate(sums):
            for n, number in enumerate(own):
                builder.store(builder.extract_value(made, number), place(builder, data[3 * m], n, F32))
        return context.get_dummy_value()

    names = [f"{word}_{m}" for m in range(len(products)) for word in ("sums", "left", "right")]
    space: dict[str, Any] = {"answer": lambda arguments: (types.void(*arguments), generate)}
    words = ", ".join(names)
    exec(f"def {name}(typing, {words}):\n    return answer(({words},))\n", space)
    return intrinsic(space[name])


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
