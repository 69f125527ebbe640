"""Ids that are out of range are never used as an index: they give NaN, which a training step's guard sees."""
import numpy as np

from dlcore import ops
from dlcore.graph import Graph, plan


def test_embedding_of_a_bad_id_is_nan():
    graph = Graph()
    table, ids, dout = graph.input("table", 5, 3), graph.input("ids", 4, dtype="i32"), graph.input("dout", 4, 3)
    out = ops.embedding(table, ids)
    run = plan(graph, {"out": out}, gradients={out: [table]}, seeds={out: dout}).bind()
    run["table"][...] = np.arange(15).reshape(5, 3)
    run["ids"][...] = [4, 5, -1, 0]
    run["dout"][...] = 1
    run.run()
    np.testing.assert_array_equal(run["out"][[0, 3]], [[12, 13, 14], [0, 1, 2]])
    assert np.isnan(run["out"][1:3]).all()
    np.testing.assert_array_equal(run["d table"][:, 0], [1, 0, 0, 0, 1])


def test_cross_entropy_of_a_bad_label_is_nan():
    graph = Graph()
    logits, labels = graph.input("logits", 5, 3), graph.input("labels", 5, dtype="i32")
    loss = ops.softmax_cross_entropy(logits, labels)
    run = plan(graph, {"loss": loss}, gradients={loss: [logits]}).bind()
    run["logits"][...] = 0
    run["labels"][...] = [0, 3, -2, -1, 1 << 30]
    run.run()
    np.testing.assert_allclose(run["loss"], [np.log(3), np.nan, np.nan, 0, np.nan], rtol=1e-6)
    assert np.isnan(run["d logits"][[1, 2, 4]]).all()
    np.testing.assert_allclose(run["d logits"][[0, 3]], [[-2 / 3, 1 / 3, 1 / 3], [0, 0, 0]], rtol=1e-6)
