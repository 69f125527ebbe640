"""Layers for images beside PyTorch's: values and gradients, in float32.  Run by `pytest tests/parity`; needs torch."""
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dlcore import ops
from dlcore.graph import Graph, plan

RNG = np.random.default_rng(0)


def numbers(*shape, scale=1.0):
    return (RNG.standard_normal(shape) * scale).astype(np.float32)


def run(function, inputs):
    """Output and gradients by all inputs of a function of tensors; `dout` are fixed numbers."""
    graph = Graph()
    tensors = {n: graph.weight(n, *a.shape) for n, a in inputs.items()}
    out = function(**tensors)
    seed = graph.input("dout", *out.shape)
    program = plan(graph, {"out": out}, gradients={out: list(tensors.values())}, seeds={out: seed})
    instance = program.bind()
    dout = np.random.default_rng(1).standard_normal(out.shape).astype(np.float32)
    for name, array in {**inputs, "dout": dout}.items():
        instance[name][...] = array
    instance.run(*(s for s in ("prepare", "forward", "backward") if s in program.segments))
    return instance["out"].copy(), {n: instance.gradient(n).copy() for n in inputs}, dout


def nchw(x):
    return torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))


def oihw(w):
    return torch.from_numpy(np.ascontiguousarray(w.transpose(3, 2, 0, 1)))


def compare(function, theirs, inputs, orders):
    """orders: how each input becomes torch's; theirs: on such tensors, NCHW out."""
    out, gradients, dout = run(function, inputs)
    leaves = {n: orders[n](a).requires_grad_() for n, a in inputs.items()}
    expected = theirs(**leaves)
    expected.backward(nchw(dout))
    np.testing.assert_allclose(out, expected.detach().numpy().transpose(0, 2, 3, 1), atol=1e-5, rtol=1e-5)
    for n, leaf in leaves.items():
        d = leaf.grad.numpy()
        d = d if d.ndim == 1 else d.transpose(2, 3, 1, 0) if orders[n] is oihw else d.transpose(0, 2, 3, 1)
        scale = max(1.0, float(np.abs(d).max()))
        assert np.abs(gradients[n] - d).max() <= 1e-5 * scale, n


VECTOR = torch.from_numpy
IMAGE = {"x": nchw, "weight": oihw, "bias": VECTOR}


@pytest.mark.parametrize("options, channels", [
    ({}, (5, 7)), ({"stride": 2, "padding": 1}, (16, 32)), ({"padding": 2, "dilation": 2}, (3, 16)),
    ({"groups": 4, "padding": 1}, (8, 12)), ({"groups": 6, "padding": 1, "stride": 2}, (6, 6)), ({"stride": (1, 3)}, (4, 70))])
def test_conv2d(options, channels):
    C, N = channels
    C_in = C // options.get("groups", 1)
    inputs = {"x": numbers(2, 11, 13, C), "weight": numbers(3, 3, C_in, N, scale=(9 * C_in)**-0.5), "bias": numbers(N)}
    compare(lambda **t: ops.conv2d(**t, **options), lambda **t: F.conv2d(t["x"], t["weight"], t["bias"], **options), inputs, IMAGE)


@pytest.mark.parametrize("options", [{}, {"stride": 2, "padding": 1, "output_padding": 1}, {"stride": 2, "groups": 2},
                                     {"stride": 3, "dilation": 2, "padding": 2}])
def test_conv2d_transpose(options):
    inputs = {"x": numbers(2, 5, 6, 4), "weight": numbers(3, 3, 6 // options.get("groups", 1), 4, scale=0.3)}
    compare(lambda **t: ops.conv2d_transpose(**t, **{"output_padding": 0, **options}),
            lambda x, weight: F.conv_transpose2d(x, weight, **options), inputs, IMAGE)


@pytest.mark.parametrize("size, stride, padding", [(2, 2, 0), (3, 2, 1), (3, 1, 1)])
def test_pooling(size, stride, padding):
    inputs = {"x": numbers(2, 9, 10, 5)}
    compare(lambda x: ops.max_pool2d(x, size=size, stride=stride, padding=padding),
            lambda x: F.max_pool2d(x, size, stride, padding), inputs, IMAGE)
    for whole in (False, True):
        compare(lambda x, whole=whole: ops.average_pool2d(x, size=size, stride=stride, padding=padding, whole=whole),
                lambda x, whole=whole: F.avg_pool2d(x, size, stride, padding, count_include_pad=whole), inputs, IMAGE)


def test_adaptive_pooling():
    inputs = {"x": numbers(2, 9, 10, 5)}
    compare(lambda x: ops.adaptive_average_pool2d(x, size=(4, 3)), lambda x: F.adaptive_avg_pool2d(x, (4, 3)), inputs, IMAGE)
    compare(lambda x: ops.adaptive_max_pool2d(x, size=(4, 3)), lambda x: F.adaptive_max_pool2d(x, (4, 3)), inputs, IMAGE)


@pytest.mark.parametrize("activation", [None, "relu"])
def test_batchnorm(activation):
    inputs = {"x": numbers(4, 5, 6, 9) * 2 + 3, "weight": numbers(9), "bias": numbers(9)}

    def ours(x, weight, bias):
        return ops.batchnorm(x, weight, bias, *ops.batch_statistics(x), activation=activation)

    def theirs(x, weight, bias):
        out = F.batch_norm(x, None, None, weight, bias, training=True)
        return torch.relu(out) if activation else out
    compare(ours, theirs, inputs, {"x": nchw, "weight": VECTOR, "bias": VECTOR})


def test_groupnorm():
    inputs = {"x": numbers(3, 5, 6, 12) + 2, "weight": numbers(12), "bias": numbers(12)}
    orders = {"x": nchw, "weight": VECTOR, "bias": VECTOR}
    compare(lambda **t: ops.groupnorm(**t, groups=3), lambda x, weight, bias: F.group_norm(x, 3, weight, bias), inputs, orders)
    compare(lambda **t: ops.instancenorm(**t), lambda x, weight, bias: F.instance_norm(x, weight=weight, bias=bias), inputs, orders)


@pytest.mark.parametrize("size", [(10, 12), (3, 4), (7, 11)])
def test_resize(size):
    inputs = {"x": numbers(2, 5, 6, 3)}
    compare(lambda x: ops.resize_bilinear(x, height=size[0], width=size[1]),
            lambda x: F.interpolate(x, size, mode="bilinear", align_corners=False), inputs, IMAGE)
    compare(lambda x: ops.resize_nearest(x, height=size[0], width=size[1]), lambda x: F.interpolate(x, size, mode="nearest-exact"),
            inputs, IMAGE)


def test_shuffles():
    inputs = {"x": numbers(2, 5, 6, 12)}
    compare(lambda x: ops.pixel_shuffle(x, factor=2), lambda x: F.pixel_shuffle(x, 2), inputs, IMAGE)
    compare(lambda x: ops.channel_shuffle(x, groups=3), lambda x: F.channel_shuffle(x, 3) if hasattr(F, "channel_shuffle")
            else torch.channel_shuffle(x, 3), inputs, IMAGE)
