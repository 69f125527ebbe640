"""Random numbers on a GPU: a thread for four columns, which one draw of Philox serves; the same bits as on the CPU but for the
normal numbers' logarithm, whose products are fused here."""
import numpy as np

from dlcore.compiler.cuda.intrinsics import quotient
from dlcore.compiler.cuda.language import kernel
from dlcore.compiler.language import formula
from dlcore.ops.dropout.cuda import philox_words
from dlcore.ops.random.cpu import LOW, normal_of


@formula
def draws(item, C, node, seed, step, first_sample):
    """(row, draw, its four words)"""
    count = (C + 3) // 4
    i = quotient(item, count)
    draw = item - i * count
    words = philox_words(np.uint64(draw), np.uint64(first_sample + i) & LOW, np.uint64(step) & LOW, np.uint64(node) & LOW,
                         np.uint64(seed) & LOW, np.uint64(seed) >> np.uint64(32))
    return i, draw, words


@kernel(threads="N * ceil(C / 4)")
def random_normal(item, node, seed, step, first_sample, out):
    i, draw, words = draws(item, out.shape[1], node, seed, step, first_sample)
    for w in range(4):
        if 4 * draw + w < out.shape[1]:
            out[i, 4 * draw + w] = normal_of(words[w])


@kernel(threads="N * ceil(C / 4)")
def random_uniform(item, node, seed, step, first_sample, out):
    i, draw, words = draws(item, out.shape[1], node, seed, step, first_sample)
    for w in range(4):
        if 4 * draw + w < out.shape[1]:
            out[i, 4 * draw + w] = np.float32(np.int64(words[w] >> np.uint64(8))) * np.float32(5.9604644775390625e-08)
