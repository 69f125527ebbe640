"""Cross-entropy behind a large projection, without the logits of all rows at once."""
from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from dlcore import ops

if TYPE_CHECKING:
    from dlcore.graph import Tensor

WHOLE = 1 << 24             # logits that are kept until backward, 64 MB
PIECE = 1 << 24             # logits of one piece of rows otherwise: each piece reads the whole table three times
LARGE = 1 << 29             # both on a GPU, 2 GiB: a piece has to give each of its 132 multiprocessors several tiles of products
ROWS = 128                  # of a tile there: pieces are so many rows, or twice, ..., as far as there are enough


def projected_cross_entropy(x: Tensor, table: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """The cross-entropy of softmax(x table^T), f32[N].   x: f32[N, C]   table: f32[V, C]   targets: i32[N], -1 is ignored

    Where N V logits are many, rows are taken piece by piece, and backward makes the logits of a piece again: they are never
    whole in memory, and the product is done once more."""
    N, V = x.shape[0], table.shape[0]
    whole, piece, multiple = limits(x.graph)
    if N * V <= whole:
        return ops.softmax_cross_entropy(ops.matmul(x, table, "nt"), targets, label_smoothing)
    rows = -(-N // -(-N * V // piece))          # pieces are alike
    rows = -(-rows // multiple) * multiple
    pieces = [_piece(x[a:a + rows], table, targets[a:a + rows], label_smoothing) for a in range(0, N, rows)]
    return x.graph.concat(pieces)


def limits(graph) -> tuple[int, int, int]:
    """(logits that are kept, logits of a piece, what its rows are a multiple of) on the chosen device."""
    from dlcore.runtime.device import current_cuda
    return (WHOLE, PIECE, 1) if current_cuda() is None or graph.wide else (LARGE, LARGE, ROWS)


def _piece(x: Tensor, table: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """The loss of some rows; of what is computed, each row's greatest logit and sum are kept for backward."""
    graph, room = x.graph, import_module("dlcore.ops.softmax_cross_entropy")   # its calls: the op of its name hides them
    with graph.inside():
        loss, top, total = room.cross_entropy_forward(ops.matmul(x, table, "nt"), targets, smoothing)

    def backward(dloss):
        before, graph.again = graph.again, True         # or the planner would find the logits made before, and keep them
        try:
            logits = ops.matmul(x, table, "nt")
        finally:
            graph.again = before
        d = room.cross_entropy_backward(dloss, targets, top, total, smoothing, logits)
        return ops.matmul(d, table), ops.matmul(d, x, "tn"), None
    graph.record("projected_cross_entropy", [x, table, targets], [loss], backward)
    return loss
