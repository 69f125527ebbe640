"""One step over a cache on a GPU: a block for the heads of queries that share one of keys; scores stay in `scores`."""
import numpy as np

from dlcore.compiler.cuda.intrinsics import cuda, f32, warp_sum
from dlcore.compiler.cuda.language import kernel
from dlcore.ops import cached_attention  # noqa: F401  (declares)
from dlcore.ops.formulas import exp

ZERO, ONE, INF, THREADS, WARPS = np.float32(0), np.float32(1), np.float32(np.inf), 256, 8


@kernel(blocks="B * G", name="cached_attention")
def step(item, thread, qkv, position, groups, scale, window, scores, out, keys, values):
    """A warp for each key's score, a thread for each column of the result."""
    H, D = out.shape[1], out.shape[2]
    first = max(0, position - window + 1) if window > 0 else 0
    b, g, warp, lane = item // groups, item % groups, thread // 32, thread % 32
    shared = cuda.shared.array(8, f32)
    for d in range(thread, D, THREADS):
        keys[b, g, position, d] = qkv[b, H + g, d]
        values[b, g, position, d] = qkv[b, H + groups + g, d]
    cuda.syncthreads()
    for h in range(g * (H // groups), (g + 1) * (H // groups)):
        top = -INF
        for j in range(first + warp, position + 1, WARPS):
            total = ZERO
            for d in range(lane, D, 32):
                total += qkv[b, h, d] * keys[b, g, j, d]
            s = warp_sum(total) * scale
            if lane == 0:
                scores[item, j] = s
            top = s if s > top else top
        cuda.syncthreads()
        if lane == 0:
            shared[warp] = top
        cuda.syncthreads()
        for w in range(WARPS):
            top = shared[w] if shared[w] > top else top
        cuda.syncthreads()
        whole = ZERO
        for j in range(first + thread, position + 1, THREADS):
            p = exp(scores[item, j] - top)
            scores[item, j] = p
            whole += p
        whole = warp_sum(whole)
        if lane == 0:
            shared[warp] = whole
        cuda.syncthreads()
        whole = ZERO
        for w in range(WARPS):
            whole += shared[w]
        for d in range(thread, D, THREADS):
            total = ZERO
            for j in range(first, position + 1):
                total += scores[item, j] * values[b, g, j, d]
            out[b, h, d] = total * (ONE / whole)
        cuda.syncthreads()
