"""Convolutions by their definition, in float64: a loop over the taps."""
from types import SimpleNamespace

import numpy as np

from dlcore.ops.activation.ref import OF_X
from dlcore.ops.case import Case, random
from dlcore.ops.conv2d import geometry_of, same_padding, two


def geometry(x, taps, stride=1, padding="valid", dilation=1, groups=1):
    return geometry_of(SimpleNamespace(shape=x.shape), taps, stride, padding, dilation, groups, "reference")


def windows(g):
    """For each tap: its number, the rows and the columns of outputs that see the image through it, and what they see."""
    for kh in range(g.taps[0]):
        for kw in range(g.taps[1]):
            places = []
            for axis, k in enumerate((kh, kw)):
                seen = np.arange(g.out[axis]) * g.stride[axis] + k * g.dilation[axis] - g.before[axis]
                inside = np.flatnonzero((seen >= 0) & (seen < g.image[axis]))
                places.append((inside, seen[inside]))
            yield (kh, kw), np.ix_(places[0][0], places[1][0]), np.ix_(places[0][1], places[1][1])


def split(x, groups):
    return x.reshape(*x.shape[:-1], groups, x.shape[-1] // groups)


def product(x, weight, g):
    out = np.zeros((x.shape[0], *g.out, g.groups, weight.shape[3] // g.groups))
    for tap, places, seen in windows(g):
        out[:, *places] += np.einsum("bpqgc,cgn->bpqgn", split(x, g.groups)[:, *seen], split(weight[tap], g.groups))
    return out.reshape(*out.shape[:3], -1)


def by_image(dout, weight, g):
    dx = np.zeros((dout.shape[0], *g.image, g.groups, weight.shape[2]))
    for tap, places, seen in windows(g):
        dx[:, *seen] += np.einsum("bpqgn,cgn->bpqgc", split(dout, g.groups)[:, *places], split(weight[tap], g.groups))
    return dx.reshape(*dx.shape[:3], -1)


def by_weight(x, dout, g):
    channels = dout.shape[3]
    dweight = np.zeros((*g.taps, x.shape[3] // g.groups, g.groups, channels // g.groups))
    for tap, places, seen in windows(g):
        dweight[tap] = np.einsum("bpqgc,bpqgn->cgn", split(x, g.groups)[:, *seen], split(dout, g.groups)[:, *places])
    return dweight.reshape(*dweight.shape[:3], channels)


def conv2d(x, weight, bias=None, residual=None, activation=None, **options):
    out = product(x, weight, geometry(x, weight.shape[:2], **options))
    out = out + (0 if bias is None else bias) + (0 if residual is None else residual)
    return out if activation is None else OF_X[activation][0](out)


def conv2d_backward(dout, x, weight, bias=None, residual=None, activation=None, **options):
    g = geometry(x, weight.shape[:2], **options)
    if activation is not None:
        dout = dout * OF_X[activation][1](conv2d(x, weight, bias, residual, **options))
    found = {"x": by_image(dout, weight, g), "weight": by_weight(x, dout, g)}
    found |= {} if bias is None else {"bias": dout.sum((0, 1, 2))}
    return found if residual is None else found | {"residual": dout}


def flat_options(padding="valid", stride=1, dilation=1, K=1, **options):
    pads = ((K - 1) * dilation, 0) if padding == "causal" else padding
    return dict(options, padding=pads if isinstance(pads, str) else (0, pads), stride=(1, stride), dilation=(1, dilation))


def conv1d(x, weight, bias=None, **options):
    return conv2d(x[:, None], weight[None], bias, **flat_options(**options, K=len(weight)))[:, 0]


def conv1d_backward(dout, x, weight, bias=None, **options):
    found = conv2d_backward(dout[:, None], x[:, None], weight[None], bias, **flat_options(**options, K=len(weight)))
    return found | {"x": found["x"][:, 0], "weight": found["weight"][0]}


def transposed(x, weight, stride=1, padding="valid", dilation=1, groups=1, output_padding=None):
    """The geometry of the convolution that a transposed one turns round."""
    sizes, pads = [], []
    for axis, (n, K) in enumerate(zip(x.shape[1:3], weight.shape[:2], strict=True)):
        s, span = two(stride, "")[axis], (K - 1) * two(dilation, "")[axis] + 1
        if padding == "same":
            sizes.append(n * s)
            pads.append(same_padding(n * s, span, s))
        else:
            pad = 0 if padding == "valid" else padding
            more = max(s - span, 0) if output_padding is None and padding == "valid" else output_padding or 0
            sizes.append((n - 1) * s + span - 2 * pad + more)
            pads.append((pad, pad))
    image = np.empty((1, *sizes, 1))
    return geometry(image, weight.shape[:2], stride, tuple(pads), dilation, groups)


def conv2d_transpose(x, weight, **options):
    return by_image(x, weight, transposed(x, weight, **options))


def conv2d_transpose_backward(dout, x, weight, **options):
    g = transposed(x, weight, **options)
    return {"x": product(dout, weight, g), "weight": by_weight(dout, x, g)}


def case(id, shape, taps, channels, bias=False, residual=False, activation=None, **options):
    """x in eighths, weights in 64ths, biases half-way between 512ths: no sum lies at 0, the kink of some activations."""
    x = np.round(random(*shape) * 8) / 8
    C = shape[3] // options.get("groups", 1)
    inputs = {"x": x, "weight": np.round(random(*taps, C, channels, seed=1, scale=(C * taps[0] * taps[1])**-0.5) * 64) / 64}
    wanted = ["x", "weight"]
    if bias:
        inputs["bias"] = (np.round(random(channels, seed=2) * 512) + 0.5) / 512
    if residual:
        g = geometry(x, taps, **options)
        inputs["residual"] = np.round(random(shape[0], *g.out, channels, seed=3) * 8) / 8
    options |= {} if activation is None else {"activation": activation}
    return Case("conv2d", id, inputs, conv2d, conv2d_backward, [n for n in (*wanted, "bias", "residual") if n in inputs], options,
                twice=activation != "gelu_tanh" and np.prod(shape) < 2000)


def sequence(id, shape, K, channels, bias=True, **options):
    activation = options.get("activation")
    inputs = {"x": np.round(random(*shape) * 8) / 8,
              "weight": np.round(random(K, shape[2] // options.get("groups", 1), channels, seed=1, scale=K**-0.5) * 64) / 64,
              "bias": (np.round(random(channels, seed=2) * 512) + 0.5) / 512}
    return Case("conv1d", id, inputs, conv1d, conv1d_backward, ["x", "weight", "bias"], options, twice=activation is None)


def turned(id, shape, taps, channels, **options):
    inputs = {"x": random(*shape), "weight": random(*taps, channels, shape[3], seed=1, scale=0.3)}
    return Case("conv2d_transpose", id, inputs, conv2d_transpose, conv2d_transpose_backward, ["x", "weight"], options, twice=True)


def part(name, id, first, second, options, function, wanted):
    """One of the three products by itself; its gradients are the two others."""
    g = geometry(np.empty((1, *options.pop("image"), 1)), options.pop("taps"), **options)
    names = list(first | second)

    def reference(**inputs):
        return function(*(inputs[n] for n in names), g)

    def backward(arrived, /, **inputs):
        return wanted(arrived, *(inputs[n] for n in names), g)
    return Case(name, id, first | second, reference, backward, names, twice=True,
                apply=lambda op, graph, inputs, options: op(*(inputs[n] for n in names), g))


def parts():
    for id, options in (("same", dict(image=(6, 7), taps=(3, 2), padding="same")),
                        ("stride", dict(image=(7, 9), taps=(3, 3), stride=2, padding=1))):
        g = geometry(np.empty((1, *options["image"], 1)), options["taps"],
                     **{k: v for k, v in options.items() if k not in ("image", "taps")})
        x, w = {"x": random(2, *g.image, 3)}, {"weight": random(*g.taps, 3, 5, seed=1, scale=0.3)}
        d = {"dout": random(2, *g.out, 5, seed=2)}
        yield part("conv2d_product", id, x, w, dict(options), product,
                   lambda dout, x, w, g: {"x": by_image(dout, w, g), "weight": by_weight(x, dout, g)})
        yield part("conv2d_data", id, d, w, dict(options), by_image,
                   lambda dx, d, w, g: {"dout": product(dx, w, g), "weight": by_weight(dx, d, g)})
        yield part("conv2d_weight", id, x, d, dict(options), by_weight,
                   lambda dw, x, d, g: {"x": by_image(d, dw, g), "dout": product(x, dw, g)})


CASES = [
    case("valid", (2, 7, 9, 3), (3, 3), 5), case("same", (2, 6, 14, 4), (3, 3), 16, padding="same"),
    case("bias", (1, 5, 6, 2), (2, 3), 7, bias=True), case("relu", (2, 6, 7, 3), (3, 3), 9, bias=True, activation="relu"),
    case("residual", (2, 6, 5, 3), (3, 3), 3, bias=True, residual=True, activation="relu", padding="same"),
    case("residual-linear", (1, 4, 5, 3), (3, 3), 3, residual=True, padding=1),
    *[case(name, (1, 5, 6, 2), (3, 2), 4, bias=True, activation=name) for name in OF_X if name != "relu"],
    case("stride", (2, 9, 10, 3), (3, 3), 6, stride=2, padding="same"),
    case("stride-torch", (1, 8, 8, 3), (3, 3), 6, stride=2, padding=1),
    case("stride-beyond", (1, 9, 11, 2), (2, 1), 3, stride=(3, 2)), case("stride-point", (2, 8, 8, 3), (1, 1), 6, stride=2),
    case("explicit", (1, 5, 6, 2), (3, 4), 3, padding=((2, 0), (1, 3))), case("wide-padding", (1, 3, 3, 2), (2, 2), 3, padding=4),
    case("dilation", (1, 9, 10, 3), (3, 3), 4, dilation=2, padding="same"),
    case("dilation-stride", (1, 11, 12, 2), (3, 3), 4, dilation=(2, 3), stride=(3, 2), padding=2),
    case("point", (2, 4, 5, 6), (1, 1), 7), case("point-relu", (2, 4, 5, 6), (1, 1), 7, bias=True, activation="relu"),
    case("point-padded", (1, 4, 5, 3), (1, 1), 4, padding=1), case("point-residual", (1, 4, 5, 3), (1, 1), 4, residual=True),
    case("groups", (1, 6, 7, 6), (3, 3), 9, groups=3, padding="same", bias=True),
    case("groups-stride", (1, 7, 7, 4), (3, 3), 6, groups=2, stride=2, padding=1),
    case("depthwise", (2, 6, 7, 20), (3, 3), 20, groups=20, padding="same", bias=True, activation="relu"),
    case("depthwise-stride", (1, 8, 9, 5), (3, 3), 5, groups=5, stride=2, padding=1),
    case("depthwise-dilation", (1, 8, 9, 5), (3, 2), 5, groups=5, dilation=2),
    case("depthwise-two", (1, 5, 6, 3), (3, 3), 6, groups=3, padding="same"),
    case("panels", (2, 14, 27, 8), (3, 3), 45, padding="same", bias=True, activation="relu"),
    case("half", (3, 10, 26, 5), (3, 3), 16), case("many-strips", (1, 40, 9, 3), (5, 3), 4, padding="same"),
    case("wide-filters", (1, 5, 5, 70), (3, 3), 70, padding="same"),
    case("large-filters", (1, 3, 4, 150), (3, 3), 200, padding="same"),
    case("few", (3, 6, 15, 9), (3, 3), 1, padding="same"), case("few-dilation", (1, 9, 7, 8), (3, 2), 4, dilation=2, padding=3),
    case("few-image", (2, 9, 10, 3), (3, 3), 12, stride=2, padding="same"), case("few-beyond", (1, 9, 11, 2), (2, 1), 8, stride=3),
    case("short-rows", (2, 14, 14, 6), (4, 4), 40, stride=2, padding=1), case("odd-batch", (3, 7, 7, 16), (3, 3), 33, padding=1),
    case("winograd", (3, 6, 8, 16), (3, 3), 16, padding="same"), case("winograd-odd", (2, 7, 9, 16), (3, 3), 48),
    case("winograd-relu", (2, 5, 6, 32), (3, 3), 16, padding=1, bias=True, activation="relu"),
    case("winograd-residual", (2, 9, 7, 16), (3, 3), 32, padding="same", bias=True, residual=True, activation="relu"),
    case("winograd-tanh", (1, 6, 7, 16), (3, 3), 16, padding=1, bias=True, activation="tanh"),
    case("winograd-padding", (1, 5, 4, 16), (3, 3), 16, padding=((2, 0), (1, 3))),
    case("winograd-many", (5, 22, 21, 16), (3, 3), 32, padding="same"),
    case("winograd-sums", (4, 17, 16, 48), (3, 3), 48, padding=1), case("winograd-few", (1, 8, 8, 32), (3, 3), 64, padding="same"),
    case("winograd-deep", (2, 8, 8, 64), (3, 3), 64, padding="same"),
    sequence("valid", (2, 9, 3), 3, 5), sequence("causal", (2, 9, 3), 3, 5, padding="causal", dilation=2),
    sequence("same-relu", (1, 33, 4), 4, 9, padding="same", stride=2, activation="relu"),
    sequence("pairs", (1, 9, 4), 3, 4, padding=(2, 1)),
    turned("valid", (2, 4, 5, 3), (3, 3), 4), turned("stride", (1, 4, 5, 3), (4, 4), 5, stride=2, padding="same"),
    turned("torch", (1, 4, 5, 3), (4, 4), 2, stride=2, padding=1), turned("output-padding", (1, 3, 4, 3), (3, 3), 2, stride=2,
                                                                         padding=1, output_padding=1),
    turned("stride-beyond", (1, 3, 4, 2), (2, 2), 3, stride=3), turned("dilation", (1, 4, 4, 2), (3, 3), 3, dilation=2),
    turned("few", (2, 5, 14, 8), (4, 4), 1, stride=2, padding="same"),
    turned("few-three", (1, 4, 5, 11), (3, 4), 3, stride=(3, 2), padding=1),
    turned("groups", (1, 4, 4, 4), (3, 3), 3, groups=2, stride=2, padding="same"),
    *parts(),
]
