"""The kernels of products that are not large (`cuda_sliced`): tiles of 16 by 16 by 8 warps, of 32 by 32 by 4, in float32 or on
tensor cores, and of 64 by 64.

An H200 has 132 multiprocessors to keep busy.  A tile of 16 by 16 is for products that have fewer than about ninety of 32 by 32:
then the more blocks the better, although each of their loads serves half as many products.  From 192 tiles of 64 by 64 on these
are better, which read half as much of the second cache, and from 256 of 128 by 128 on those of `cuda_large`.
"""

from functools import partial

from dlcore.compiler.cuda.language import kernel
from dlcore.compiler.cuda.places import part_of
from dlcore.compiler.language import call, helper
from dlcore.ops import matmul  # noqa: F401  (declares)
from dlcore.ops.matmul.cuda_lanes import bf16_product, float_product
from dlcore.ops.matmul.cuda_sliced import epilogue, shared_tile, sliced_tile

SMALL, MIDDLE, WIDE = "M * N <= 90112", "M * N >= 786432", "M * N >= 4194304"
PARTS = 16


def tiles(side):
    return f"ceil(M / {side}) * ceil(N / {side})"


def corner_of(side):
    @helper
    def corner(tile, N):
        """The first row and column of a tile."""
        columns = (N + side - 1) // side
        row = part_of(tile, columns)
        return row * side, (tile - row * columns) * side

    return corner


def products(side, block, names, tile, written):
    """Registers the kernels of these names for nn, nt, tn and dense layers: blocks of so many threads for tiles of `side`.

    tile(a_along, b_along), written: see `cuda_sliced`."""
    nn, nt, tn, corner = tile(True, False), tile(True, True), tile(False, False), corner_of(side)
    write_added, write_activated = written

    @kernel(blocks=tiles(side), block=block, name=names["nn"])
    def multiply_nn(item, thread, a, b, out, add_out):
        m0, n0 = corner(item, out.shape[1])
        write_added(nn(thread, m0, n0, 0, a.shape[1], a, b), thread, m0, n0, out, add_out)

    @kernel(blocks=tiles(side), block=block, name=names["nt"])
    def multiply_nt(item, thread, a, b, out, add_out):
        m0, n0 = corner(item, out.shape[1])
        write_added(nt(thread, m0, n0, 0, a.shape[1], a, b), thread, m0, n0, out, add_out)

    @kernel(blocks=tiles(side), block=block, name=names["tn"])
    def multiply_tn(item, thread, a, b, out, add_out):
        m0, n0 = corner(item, out.shape[1])
        write_added(tn(thread, m0, n0, 0, a.shape[0], a, b), thread, m0, n0, out, add_out)

    @kernel(blocks=tiles(side), block=block, name=names["dense"])
    def multiply_dense(item, thread, x, weight, bias, activation, parameter, out):
        m0, n0 = corner(item, out.shape[1])
        found = nn(thread, m0, n0, 0, x.shape[1], x, weight)
        write_activated(found, thread, m0, n0, out, bias, activation, parameter)


call("matmul_tn_whole(a: F[K, M], b: F[K, N] -> +out: F[M, N])", over=tiles(32), flops="2 * M * N * K")
for kind, side in (("small", 16), ("middle", 64), ("bf16", 32)):
    for form, (a, b) in {"nn": ("M, K", "K, N"), "nt": ("M, K", "N, K"), "tn": ("K, M", "K, N")}.items():
        call(f"matmul_{form}_{kind}(a: F[{a}], b: F[{b}] -> +out: F[M, N])", over=tiles(side), flops="2 * M * N * K")
    call(f"dense_forward_{kind}(x: F[M, K], weight: f32[K, N], bias: f32[N]?, activation: i64, parameter: f32 -> out: F[M, N])",
         over=tiles(side), flops="2 * M * N * K")  # fmt: skip
for name in ("matmul_tn_parts", "matmul_tn_parts_bf16"):
    call(f"{name}(a: F[K, M], b: F[K, N] -> parts: F[{PARTS}, M, N])", over=tiles(32), flops="2 * M * N * K")



def names(ending, tn=""):
    """The names of a size's calls."""
    tn = tn or f"matmul_tn{ending}"
    return {"nn": f"matmul_nn{ending}", "nt": f"matmul_nt{ending}", "tn": tn, "dense": f"dense_forward{ending}"}


products(16, 256, names("_small"), partial(sliced_tile, 16, 8), epilogue(16, 8, 256))
products(32, 128, names("", "matmul_tn_whole"), partial(sliced_tile, 32, 4), epilogue(32, 4, 128))
products(32, 128, names("_bf16"), partial(sliced_tile, 32, 4, product=bf16_product), epilogue(32, 4, 128))
products(64, 128, names("_middle"), shared_tile, epilogue(64, 1, 128))


def product_in_parts(name, product):
    tn, corner, write = sliced_tile(32, 4, False, False, product), corner_of(32), epilogue(32, 4, 128)[0]

    @kernel(blocks=f"{PARTS} * {tiles(32)}", block=128, name=name)
    def multiply_parts(item, thread, a, b, parts):
        """Part `item % PARTS` of K, of tile `item // PARTS`."""
        K, part = a.shape[0], item % PARTS
        m0, n0 = corner(item // PARTS, b.shape[1])
        found = tn(thread, m0, n0, K * part // PARTS, K * (part + 1) // PARTS, a, b)
        write(found, thread, m0, n0, parts[part], False)


product_in_parts("matmul_tn_parts", float_product)
product_in_parts("matmul_tn_parts_bf16", bf16_product)
