"""Four columns a draw.  LLVM makes no vector code of the ten rounds for AVX2 and below, so `draw_columns` says how."""
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils

from dlcore.compiler.language import constant, formula, intrinsic, kernel
from dlcore.ops.dropout import dropout_call  # noqa: F401  (declares)

LANES = constant("LANES")       # draws at a time
MULTIPLIERS, WEYL = (0xD2511F53, 0xCD9E8D57), (0x9E3779B9, 0xBB67AE85)


@formula
def philox(word, c0, c1, c2, c3, k0, k1):
    """A word of Philox4x32-10's answer; counter and key are below 2**32."""
    low = np.uint64(0xFFFFFFFF)
    for _ in range(10):
        a = np.uint64(0xD2511F53) * c0
        b = np.uint64(0xCD9E8D57) * c2
        c0 = (b >> np.uint64(32)) ^ c1 ^ k0
        c1 = b & low
        c2 = (a >> np.uint64(32)) ^ c3 ^ k1
        c3 = a & low
        k0 = (k0 + np.uint64(0x9E3779B9)) & low
        k1 = (k1 + np.uint64(0xBB67AE85)) & low
    return c0 if word == 0 else (c1 if word == 1 else (c2 if word == 2 else c3))


C_DRAW_COLUMNS = """
void draw_columns(const float *x, float *out, int64_t at, int64_t draw, uint64_t c1, uint64_t c2, uint64_t c3, uint64_t k0,
                  uint64_t k1, uint64_t limit, float factor, int add) {
  for (int i = 0; i < LANES; i++) {
    uint32_t c[4] = {(uint32_t)draw + (uint32_t)i, (uint32_t)c1, (uint32_t)c2, (uint32_t)c3};
    uint32_t k[2] = {(uint32_t)k0, (uint32_t)k1};
    for (int r = 0; r < 10; r++) {
      uint64_t a = 0xD2511F53u * (uint64_t)c[0], b = 0xCD9E8D57u * (uint64_t)c[2];
      c[0] = (uint32_t)(b >> 32) ^ c[1] ^ k[0], c[1] = (uint32_t)b;
      c[2] = (uint32_t)(a >> 32) ^ c[3] ^ k[1], c[3] = (uint32_t)a;
      k[0] += 0x9E3779B9u, k[1] += 0xBB67AE85u;
    }
    for (int w = 0; w < 4; w++) {
      int64_t j = at + 4 * i + w;
      out[j] = (c[w] >= limit ? x[j] * factor : 0.0f) + (add ? out[j] : 0.0f);
    }
  }
}""".replace("LANES", str(LANES))


def rounds(b, counter, key):
    """The ten rounds on vectors of LANES 32-bit words."""
    narrow = counter[0].type
    wide = ir.VectorType(ir.IntType(64), LANES)

    def product(word, multiplier):
        whole = b.mul(b.zext(word, wide), ir.Constant(wide, [multiplier] * LANES))
        return b.trunc(b.lshr(whole, ir.Constant(wide, [32] * LANES)), narrow), b.trunc(whole, narrow)
    c, k = list(counter), list(key)
    for _ in range(10):
        (high0, low0), (high1, low1) = product(c[0], MULTIPLIERS[0]), product(c[2], MULTIPLIERS[1])
        c = [b.xor(b.xor(high1, c[1]), k[0]), low1, b.xor(b.xor(high0, c[3]), k[1]), low0]
        k = [b.add(word, ir.Constant(narrow, [step] * LANES)) for word, step in zip(k, WEYL, strict=True)]
    return c


def splat(b, scalar, count):
    kind = ir.VectorType(scalar.type, count)
    one = b.insert_element(ir.Constant(kind, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0))
    return b.shuffle_vector(one, ir.Constant(kind, ir.Undefined), ir.Constant(ir.VectorType(ir.IntType(32), count), [0] * count))


def interleave(b, words):
    """Word w of draw i goes to place 4 i + w."""
    index = ir.VectorType(ir.IntType(32), 2 * LANES)
    first, second = (b.shuffle_vector(*pair, ir.Constant(index, list(range(2 * LANES)))) for pair in (words[:2], words[2:]))
    order = [w * LANES + i for i in range(LANES) for w in range(4)]
    return b.shuffle_vector(first, second, ir.Constant(ir.VectorType(ir.IntType(32), 4 * LANES), order))


@intrinsic(c=C_DRAW_COLUMNS)
def draw_columns(typing, x, out, at, draw, c1, c2, c3, k0, k1, limit, factor, add):
    """out[at:at + 4 LANES] = dropout of x there, by the draws draw, draw + 1, ...; x and out are flat rows of one shape."""
    u64, number = types.uint64, x.dtype
    signature = types.void(x, out, types.int64, types.int64, u64, u64, u64, u64, u64, u64, number, types.boolean)

    def generate(context, b, signature, args):
        x, out, at, draw, c1, c2, c3, k0, k1, limit, factor, add = args
        word, count = ir.IntType(32), 4 * LANES
        value = ir.VectorType(factor.type, count)
        lanes = ir.Constant(ir.VectorType(word, LANES), list(range(LANES)))
        counter = [b.add(splat(b, b.trunc(draw, word), LANES), lanes)]
        counter += [splat(b, b.trunc(c, word), LANES) for c in (c1, c2, c3)]
        words = interleave(b, rounds(b, counter, [splat(b, b.trunc(k, word), LANES) for k in (k0, k1)]))

        def place(array, kind):
            data = cgutils.create_struct_proxy(kind)(context, b, value=array).data
            return b.bitcast(b.gep(data, [at]), value.as_pointer())
        source, target = place(x, signature.args[0]), place(out, signature.args[1])
        given = b.load(source)
        old = b.load(target)
        given.align = old.align = context.get_abi_sizeof(factor.type)
        keep = b.icmp_unsigned(">=", words, splat(b, b.trunc(limit, word), count))
        zero = ir.Constant(value, None)
        made = b.select(keep, b.fmul(given, splat(b, factor, count)), zero)
        made = b.fadd(made, b.select(splat(b, context.cast(b, add, types.boolean, types.boolean), count), old, zero))
        b.store(made, target).align = context.get_abi_sizeof(factor.type)
        return context.get_dummy_value()
    return signature, generate


@formula
def kept(x, draw, limit, factor):
    return x * factor if draw >= limit else np.float32(0)


@kernel
def dropout(x, rate, node, rows, seed, step, first_sample, out, begin, add_out):
    factor, limit = np.float32(1) / (np.float32(1) - rate), np.uint64(np.float64(rate) * 4294967296.0)
    low, C = np.uint64(0xFFFFFFFF), x.shape[1]
    k0, k1 = np.uint64(seed) & low, np.uint64(seed) >> np.uint64(32)
    c2, c3 = np.uint64(step) & low, np.uint64(node) & low
    blocks = C // (4 * LANES)
    for i in range(x.shape[0]):
        c1 = np.uint64(first_sample * rows + begin + i) & low
        for q in range(blocks):
            draw_columns(x, out, i * C + q * 4 * LANES, q * LANES, c1, c2, c3, k0, k1, limit, factor, add_out)
        for j in range(blocks * 4 * LANES, C):
            d = kept(x[i, j], philox(j % 4, np.uint64(j // 4), c1, c2, c3, k0, k1), limit, factor)
            out[i, j] = d + (out[i, j] if add_out else np.float32(0))
