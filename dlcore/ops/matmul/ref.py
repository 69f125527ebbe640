"""Matrix products and dense layers by their definitions, in float64."""
import numpy as np

from dlcore.ops.activation.ref import OF_X
from dlcore.ops.case import Case, random


def matmul(a, b, form="nn"):
    if form == "nt":
        b = b.T
    if form == "tn":
        a = a.T
    return (a[:, :, None] * b[None]).sum(1)


def matmul_backward(dout, a, b, form="nn"):
    if form == "nn":
        return {"a": dout @ b.T, "b": a.T @ dout}
    if form == "nt":
        return {"a": dout @ b, "b": dout.T @ a}
    return {"a": b @ dout.T, "b": a @ dout}


def dense(x, weight, bias=None, activation=None):
    out = x @ weight
    if bias is not None:
        out = out + bias
    return out if activation is None else OF_X[activation][0](out)


def dense_backward(dout, x, weight, bias=None, activation=None):
    d = dout if activation is None else dout * OF_X[activation][1](dense(x, weight, bias))
    rows, columns = x.reshape(-1, x.shape[-1]), d.reshape(-1, d.shape[-1])
    gradients = {"x": d @ weight.T, "weight": rows.T @ columns}
    return gradients if bias is None else gradients | {"bias": columns.sum(0)}


def product_case(id, form, M, K, N, **more):
    a = random(*((K, M) if form == "tn" else (M, K)), scale=K**-0.5)
    b = random(*((N, K) if form == "nt" else (K, N)), seed=1)
    return Case("matmul", f"{form}-{id}", {"a": a, "b": b}, matmul, matmul_backward, ["a", "b"], {"form": form},
                twice=True, **more)


def dense_case(id, shape, C, activation=None, bias=True, **more):
    """x in eighths, weights in 64ths, biases half-way between 512ths: no sum lies at 0, the kink of some activations."""
    K = shape[-1]
    x = np.round(random(*shape) * 8) / 8
    inputs = {"x": x, "weight": np.round(random(K, C, seed=1, scale=K**-0.5) * 64) / 64,
              "bias": (np.round(random(C, seed=2) * 512) + 0.5) / 512 if bias else None}
    options = {"activation": activation} if activation else {}
    wanted = ["x", "weight", "bias"] if bias else ["x", "weight"]
    return Case("dense", id, inputs, dense, dense_backward, wanted, options, **more)


# Below, at and above every level's tile (4 to 12 rows, 8 to 32 columns); one row; few rows and a large matrix; more than one block
# of K (256); so large that operands are packed.
SIZES = {"one": (1, 1, 1), "odd": (13, 17, 33), "tile": (12, 16, 32), "row": (1, 40, 300), "column": (70, 9, 1),
         "many-rows": (203, 37, 19), "few": (3, 611, 437), "deep": (7, 1100, 70), "blocks": (101, 1300, 270)}

CASES = [product_case(id, form, *sizes) for form in ("nn", "nt", "tn") for id, sizes in SIZES.items()]
CASES += [dense_case(name, (29, 18), 21, name, twice=name != "gelu_tanh") for name in OF_X]
CASES += [dense_case(f"{name}-row", (1, 18), 39, name) for name in OF_X]
CASES += [
    dense_case("linear", (61, 13), 35, twice=True),
    dense_case("no-bias", (14, 8), 9, "relu", bias=False, twice=True),
    dense_case("no-bias-linear", (14, 8), 9, bias=False, twice=True),
    dense_case("sequence", (3, 7, 16), 5, "tanh", twice=True),
    dense_case("packed", (131, 500), 270, "relu"),
    dense_case("deep", (131, 1100), 140, "relu"),
    dense_case("halves", (13, 1100), 140, "relu"),
    dense_case("halves-sigmoid", (29, 601), 230, "sigmoid", bias=False),
    dense_case("few", (3, 611), 437, "relu"),
    dense_case("few-gelu", (2, 611), 437, "gelu_tanh", bias=False),
    dense_case("packed-gelu", (13, 500), 270, "gelu"),
]
