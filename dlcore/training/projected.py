"""Cross-entropy behind a large projection, without the logits of all rows at once."""
from __future__ import annotations

from typing import TYPE_CHECKING

from dlcore import ops

if TYPE_CHECKING:
    from dlcore.graph import Tensor

WHOLE = 1 << 24             # logits that are kept until backward, 64 MB
PIECE = 1 << 24             # logits of one piece of rows otherwise: each piece reads the whole table three times


def projected_cross_entropy(x: Tensor, table: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """The cross-entropy of softmax(x table^T), f32[N].   x: f32[N, C]   table: f32[V, C]   targets: i32[N], -1 is ignored

    Where N V logits are many, rows are taken piece by piece, and backward makes the logits of a piece again: they are never
    whole in memory, and the product is done once more."""
    from dlcore.graph import recompute

    def loss(rows, labels):
        return ops.softmax_cross_entropy(ops.matmul(rows, table, "nt"), labels, label_smoothing)
    N, V = x.shape[0], table.shape[0]
    if N * V <= WHOLE:
        return loss(x, targets)
    rows = -(-N // -(-N * V // PIECE))          # pieces are alike
    pieces = [recompute(loss, x[a:a + rows], targets[a:a + rows]) for a in range(0, N, rows)]
    return x.graph.concat(pieces)
