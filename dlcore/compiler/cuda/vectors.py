"""Single PTX instructions beyond those of `intrinsics.py`: 16 and 8 bytes of global memory at a time, copies into shared memory
that run beside the threads, powers of two.

Addresses are those of `address_of`, plus bytes; they are multiples of the width."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba.cuda import types
from numba.cuda.extending import intrinsic

from dlcore.compiler.cuda.intrinsics import asm_op, u64
from dlcore.compiler.language import helper


@intrinsic
def address_of(typing: Any, array: Any) -> Any:
    """The 64-bit address of an array's first element in global memory."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        data = context.make_array(sig.args[0])(context, builder, value=args[0]).data
        return builder.ptrtoint(data, ir.IntType(64))

    return types.uint64(array), generate


load_4 = asm_op("load_4", "ld.global.v4.f32 {$0,$1,$2,$3}, [$4];", "ffff", "l")
store_4 = asm_op("store_4", "st.global.v4.f32 [$0], {$1,$2,$3,$4};", "", "lffff")
load_2 = asm_op("load_2", "ld.global.v2.f32 {$0,$1}, [$2];", "ff", "l")
store_2 = asm_op("store_2", "st.global.v2.f32 [$0], {$1,$2};", "", "lff")
store_words = asm_op("store_words", "st.global.v4.b32 [$0], {$1,$2,$3,$4};", "", "lrrrr")
load_shared_4 = asm_op("load_shared_4", "ld.shared.v4.f32 {$0,$1,$2,$3}, [$4];", "ffff", "r")
store_shared_f32 = asm_op("store_shared_f32", "st.shared.f32 [$0], $1;", "", "rf")
store_shared_f32_4 = asm_op("store_shared_f32_4", "st.shared.v4.f32 [$0], {$1,$2,$3,$4};", "", "rffff")
copy_16 = asm_op("copy_16", "cp.async.cg.shared.global [$0], [$1], 16, $2;", "", "rlr")  # of which so many are read, the rest is 0
copy_4 = asm_op("copy_4", "cp.async.ca.shared.global [$0], [$1], 4, $2;", "", "rlr")
close_copies = asm_op("close_copies", "cp.async.commit_group;", "", "")
await_copies_but_1 = asm_op("await_copies_but_1", "cp.async.wait_group 1;", "", "")
power_of_2 = asm_op("power_of_2", "ex2.approx.ftz.f32 $0, $1;", "f", "f", memory=False)  # within 2 units in the last place

ZERO = np.float32(0)


# ---- rows that a warp holds in registers -------------------------------------------------------------------------
@helper
def take_row(held, row, lane):
    """held[8, 4] = a row of at most 1,024 columns, a multiple of 4; 0 beyond it.  Column 128 n + 4 lane + c is held[n, c]."""
    at, C = address_of(row) + u64(16) * u64(lane), row.shape[0]
    for n in range(8):
        x = (ZERO, ZERO, ZERO, ZERO)
        if 128 * n + 4 * lane < C:
            x = load_4(at + u64(512 * n))
        held[n, 0], held[n, 1], held[n, 2], held[n, 3] = x[0], x[1], x[2], x[3]


@helper
def put_row(held, row, lane, add):
    """The row from where `take_row` has it, or onto what is there."""
    at, C = address_of(row) + u64(16) * u64(lane), row.shape[0]
    for n in range(8):
        if 128 * n + 4 * lane < C:
            x = (ZERO, ZERO, ZERO, ZERO)
            if add:
                x = load_4(at + u64(512 * n))
            store_4(at + u64(512 * n), held[n, 0] + x[0], held[n, 1] + x[1], held[n, 2] + x[2], held[n, 3] + x[3])
