"""Permutations of channels on the CPU."""
import numpy as np

from dlcore.compiler.language import kernel
from dlcore.ops import shuffle  # noqa: F401  (declares)

ZERO = np.float32(0)


@kernel
def channel_shuffle(x, out, add_out):
    N, G, K = x.shape
    for i in range(N):
        for j in range(K):
            for g in range(G):
                out[i, j, g] = x[i, g, j] + (out[i, j, g] if add_out else ZERO)


@kernel
def pixel_shuffle(x, out, add_out):
    B, H, W, C, R, _ = x.shape
    for b in range(B):
        for h in range(H):
            for i in range(R):
                for w in range(W):
                    for j in range(R):
                        for c in range(C):
                            out[b, h, i, w, j, c] = x[b, h, w, c, i, j] + (out[b, h, i, w, j, c] if add_out else ZERO)


@kernel
def pixel_unshuffle(x, out, add_out):
    B, H, R, W, _, C = x.shape
    for b in range(B):
        for h in range(H):
            for i in range(R):
                for w in range(W):
                    for j in range(R):
                        for c in range(C):
                            out[b, h, w, c, i, j] = x[b, h, i, w, j, c] + (out[b, h, w, c, i, j] if add_out else ZERO)
