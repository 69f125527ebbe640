"""The same products on Hopper (sm_90a), by `wgmma`: 64 rows of a warpgroup, whose left side is in registers, with a tile in shared
memory that it reads by a descriptor, once for 128 threads.

One function is one statement of assembly, with the fence before its products and the wait behind them: no other instruction can
come between and touch a register that they use.  The places of sums and of the left side are those of `mma.sync`.

Source: NVIDIA, Parallel Thread Execution ISA, chapter Asynchronous Warpgroup Level Matrix Instructions.
"""

from llvmlite import ir
from numba.cuda import types
from numba.cuda.extending import intrinsic

from dlcore.compiler.cuda.hopper import show_to_products
from dlcore.compiler.cuda.intrinsics import u32, u64
from dlcore.compiler.language import helper

F32, I32, I64 = ir.FloatType(), ir.IntType(32), ir.IntType(64)


@helper
def shown():
    show_to_products()


def statement(name, products):
    """name(sums_1, left_1, descriptor_1, ...): sums of the products, each (columns, steps, span, step, far, turned, added, shared):

    steps   products of 16 along the sum; left[steps, 4] their left sides, or, where these are `shared`, a descriptor too
    span    steps that lie within 64 columns, `step` apart in the descriptor's 16 bytes; `far`: from 64 columns to the next
    added   to what sums[columns / 8, 4] hold"""
    lines, number, constraints, kinds, sums = ["{ .reg .b64 c; .reg .b64 d; wgmma.fence.sync.aligned;"], 0, [], [], []
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
            left, further = ",".join(f"${number + 4 * k + r}" for r in range(4)), k // span * far + k % span * step
            left = (f"add.s64 c, ${number}, {further}; ", "c", "0, ") if shared else ("", f"{{{left}}}", "")
            lines.append(f"{left[0]}add.s64 d, ${right}, {further}; wgmma.mma_async.sync.aligned.m64n{columns}k16"
                         f".f32.bf16.bf16 {{{registers}}}, {left[1]}, d, {int(added or k > 0)}, 1, 1, {left[2]}{int(turned)};")
        constraints += ["l", "l"] if shared else ["r"] * (4 * steps) + ["l"]
        kinds += [I64, I64] if shared else [I32] * (4 * steps) + [I64]
        number = right + 1
    lines.append("wgmma.commit_group.sync.aligned; wgmma.wait_group.sync.aligned 0; }")
    return _function(name, " ".join(lines), ",".join([*constraints, "~{memory}"]), kinds, sums, products)


def _function(name, text, constraints, kinds, sums, products):
    """Sums and left sides are arrays in registers: read from and written to where they are."""
    def place(builder, data, n, kind):
        return builder.gep(data, [ir.Constant(I32, n)], source_etype=kind)

    def generate(context, builder, sig, args):
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
    space = {"answer": lambda arguments: (types.void(*arguments), generate)}
    words = ", ".join(names)
    exec(f"def {name}(typing, {words}):\n    return answer(({words},))\n", space)
    return intrinsic(space[name])


# ---- descriptors: a swizzle of 128 bytes, 1,024 bytes from 8 rows to the next -----------------------------------------------
@helper
def described(at, far):
    """far: from 64 columns to the next, in 16 bytes, where these are across the sum."""
    return (u64(1) << u64(62)) | (u64(64) << u64(32)) | (u64(far) << u64(16)) | u64((at & u32(0x3FFFF)) >> u32(4))


def products(W, rows):
    """(shown, scores, two_scores, weigh, weigh_two): as those of `cuda_mma`."""
    FAR = 8 * rows                                      # 64 columns of the tile, in 16 bytes
    along = rows, W // 16, 4, 2, FAR, False, False, False
    score, two = statement("score", [along]), statement("two", [along, along])
    across = W, rows // 16, rows // 16, 128, 0, True, True, False
    add, add_two = statement("add", [across]), statement("add_two", [across, across])

    @helper
    def scores(s, own, tile, thread):
        score(s, own, described(tile, 1))

    @helper
    def two_scores(s, own, tile, d, other_own, other_tile, thread):
        two(s, own, described(tile, 1), d, other_own, described(other_tile, 1))

    @helper
    def weigh(acc, p, tile, thread):
        add(acc, p, described(tile, FAR))

    @helper
    def weigh_two(acc, p, tile, other_acc, other_p, other_tile, thread):
        add_two(acc, p, described(tile, FAR), other_acc, other_p, described(other_tile, FAR))

    return shown, scores, two_scores, weigh, weigh_two


def scores_of_tiles(W, rows):
    """two_scores(s, own, tile, d, other_own, other_tile): 64 rows of one tile times those of another, twice."""
    along = rows, W // 16, 4, 2, 8 * rows, False, False, True
    two = statement("two", [along, along])

    @helper
    def two_scores(s, own, tile, d, other_own, other_tile):
        two(s, described(own, 1), described(tile, 1), d, described(other_own, 1), described(other_tile, 1))

    return two_scores


def paired(W, rows):
    """pair(s, own, tile, acc, p, values): `scores` with one tile and `weigh` with another, side by side."""
    FAR = 8 * rows
    score, add = (rows, W // 16, 4, 2, FAR, False, False, False), (W, rows // 16, rows // 16, 128, 0, True, True, False)
    both = statement("both", [score, add])

    @helper
    def pair(s, own, tile, acc, p, values):
        both(s, own, described(tile, 1), acc, p, described(values, FAR))

    return pair
