"""Intrinsics that rooms share: the bits of a float32, and bf16, which kernels hold as uint16 bits.

Each is a few instructions that vectorise with the loop around them, on every level, and has a portable C body.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from dlcore.compiler.language import intrinsic

_I16, _I32, _F32 = ir.IntType(16), ir.IntType(32), ir.FloatType()


@intrinsic(c="float float_from_bits(int32_t bits) { float x; memcpy(&x, &bits, 4); return x; }")
def float_from_bits(typing: Any, bits: Any) -> Any:
    """The float32 with these 32 bits."""
    return types.float32(types.int32), lambda context, b, signature, args: b.bitcast(args[0], _F32)


@intrinsic(c="int32_t bits_from_float(float x) { int32_t bits; memcpy(&bits, &x, 4); return bits; }")
def bits_from_float(typing: Any, x: Any) -> Any:
    """The 32 bits of a float32."""
    return types.int32(types.float32), lambda context, b, signature, args: b.bitcast(args[0], _I32)


@intrinsic(
    c="""float float_from_bf16(uint16_t half)
{
    uint32_t bits = (uint32_t)half << 16;
    float x;
    memcpy(&x, &bits, 4);
    return x;
}"""
)
def float_from_bf16(typing: Any, half: Any) -> Any:
    """The float32 of a bf16's bits: exact."""

    def generate(context: Any, b: Any, signature: Any, args: Any) -> Any:
        return b.bitcast(b.shl(b.zext(args[0], _I32), ir.Constant(_I32, 16)), _F32)

    return types.float32(types.uint16), generate


@intrinsic(
    c="""uint16_t bf16_from_float(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, 4);
    if (x != x) return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}"""
)
def bf16_from_float(typing: Any, x: Any) -> Any:
    """The bf16 bits nearest to a float32, halves to even; overflow gives infinity, a NaN stays a NaN."""

    def generate(context: Any, b: Any, signature: Any, args: Any) -> Any:
        def number(n: int) -> Any:
            return ir.Constant(_I32, n)

        bits = b.bitcast(args[0], _I32)
        high = b.lshr(bits, number(16))
        rounded = b.lshr(b.add(bits, b.add(number(0x7FFF), b.and_(high, number(1)))), number(16))
        nan = b.fcmp_unordered("uno", args[0], args[0])
        return b.trunc(b.select(nan, b.or_(high, number(0x40)), rounded), _I16)

    return types.uint16(types.float32), generate


def _ask(context: Any, b: Any, array_type: Any, array: Any, at: Any, write: int) -> Any:
    """LLVM's prefetch: into all levels of caches, of data."""
    pointer = b.gep(cgutils.create_struct_proxy(array_type)(context, b, value=array).data, [at])
    i8 = ir.IntType(8).as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [i8, _I32, _I32, _I32])
    prefetch = cgutils.get_or_insert_function(b.module, kind, "llvm.prefetch.p0")
    b.call(prefetch, [b.bitcast(pointer, i8), *(ir.Constant(_I32, v) for v in (write, 3, 1))])
    return context.get_dummy_value()


@intrinsic(c="void ask_to_read(const float *array, int64_t at) { (void)array; (void)at; }")
def ask_to_read(typing: Any, array: Any, at: Any) -> Any:
    """Asks for the cache line of element `at`; any address may be asked for."""
    return types.void(array, types.int64), lambda context, b, signature, args: _ask(context, b, signature.args[0], *args, 0)


@intrinsic(c="void ask_to_write(const float *array, int64_t at) { (void)array; (void)at; }")
def ask_to_write(typing: Any, array: Any, at: Any) -> Any:
    """The same for a line that will be written: taking it from another core's cache need not wait for the store."""
    return types.void(array, types.int64), lambda context, b, signature, args: _ask(context, b, signature.args[0], *args, 1)
