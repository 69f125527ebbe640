"""Convolutions and their gradients under `precision="bf16"`; prints errors, kernels and equality over threads as JSON."""
from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np

FORMS = ("forward", "data", "weight", "relu")
NOT_DATA = ("forward", "weight", "relu")
# images [B, H, W, C_in], taps, C_out, options, forms
CASES = {
    "same": ((2, 6, 14, 6), (3, 3), 16, {"padding": "same"}, FORMS), "odd-out": ((2, 7, 9, 6), (3, 3), 5, {}, NOT_DATA),
    "odd-batch": ((3, 7, 7, 16), (3, 3), 33, {"padding": 1}, NOT_DATA), "odd-in": ((2, 5, 7, 5), (3, 3), 6, {}, ("data", "weight")),
    "stride": ((2, 14, 14, 8), (4, 4), 40, {"stride": 2, "padding": 1}, FORMS),
    "stride-beyond": ((2, 9, 11, 2), (2, 1), 4, {"stride": (3, 2)}, FORMS),
    "dilation": ((2, 9, 10, 4), (3, 3), 6, {"dilation": 2, "padding": "same"}, FORMS),
    "groups": ((3, 6, 7, 12), (3, 3), 6, {"groups": 3, "padding": "same"}, FORMS),
    "pairs-of-groups": ((2, 7, 7, 8), (3, 3), 8, {"groups": 4, "stride": 2, "padding": 1}, FORMS),
    "wide-padding": ((2, 3, 3, 2), (2, 2), 4, {"padding": 4}, FORMS),
    "panels": ((2, 14, 27, 8), (3, 3), 46, {"padding": "same"}, FORMS),
    "deep": ((2, 5, 5, 150), (3, 3), 70, {"padding": "same"}, FORMS),
}
# what stays float32: an odd number of channels in a group, few channels out, one image for the gradient by the weights
FLOAT = {
    "image": ((2, 8, 8, 3), (3, 3), 5, {}, ("forward", "data", "relu")), "one-image": ((1, 6, 7, 4), (3, 3), 8, {}, ("weight",)),
    "depthwise": ((2, 6, 7, 5), (3, 3), 5, {"groups": 5}, FORMS), "few": ((2, 6, 7, 3), (3, 3), 12, {}, ("data",)),
}


def rounded(x: np.ndarray) -> np.ndarray:
    """float32 values of the nearest bf16, ties to even."""
    bits = x.astype(np.float32).view(np.uint32).astype(np.uint64)
    up = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16 << 16
    return np.where(np.isnan(x), np.nan, up.astype(np.uint32).view(np.float32))


def built(form: str, arrays: dict, options: dict):
    """An instance with the output `out`, and the names of its kernels."""
    from dlcore import ops
    from dlcore.graph import Graph, plan
    from dlcore.ops.conv2d import geometry_of
    graph = Graph(precision="bf16")
    t = SimpleNamespace(**{name: graph.input(name, *array.shape) for name, array in arrays.items()})
    g = geometry_of(t.x, t.weight.shape[:2], what=form, **{"stride": 1, "padding": "valid", "dilation": 1, "groups": 1} | options)
    out = {"forward": lambda: ops.conv2d_product(t.x, t.weight, g), "data": lambda: ops.conv2d_data(t.dout, t.weight, g),
           "weight": lambda: ops.conv2d_weight(t.x, t.dout, g),
           "relu": lambda: ops.conv2d(t.x, t.weight, t.bias, residual=t.residual, activation="relu", **options)}[form]()
    program = plan(graph, {"out": out})
    instance = program.bind()
    for name in READ[form]:
        instance[name][...] = arrays[name]
    return instance, [str(row["kernel"]) for row in program.table()]


READ = {"forward": ("x", "weight"), "data": ("dout", "weight"), "weight": ("x", "dout"),
        "relu": ("x", "weight", "bias", "residual")}


def exact(form: str, arrays: dict, options: dict, kept: bool) -> np.ndarray:
    """In float64, of operands that are rounded, or `kept`."""
    from dlcore.ops.conv2d import ref
    v = SimpleNamespace(**{n: (a if kept or n in ("bias", "residual") else rounded(a)).astype(np.float64)
                           for n, a in arrays.items()})
    g = ref.geometry(v.x, v.weight.shape[:2], **options)
    if form == "relu":
        return ref.conv2d(v.x, v.weight, v.bias, v.residual, "relu", **options)
    return {"forward": lambda: ref.product(v.x, v.weight, g), "data": lambda: ref.by_image(v.dout, v.weight, g),
            "weight": lambda: ref.by_weight(v.x, v.dout, g)}[form]()


def measure(form: str, shape: tuple, taps: tuple, channels: int, options: dict, kept: bool) -> dict:
    from dlcore.ops.conv2d import ref
    rng, groups = np.random.default_rng(0), options.get("groups", 1)
    arrays = {"x": rng.standard_normal(shape), "weight": rng.standard_normal((*taps, shape[3] // groups, channels))}
    out = (shape[0], *ref.geometry(arrays["x"], taps, **options).out, channels)
    arrays |= {"dout": rng.standard_normal(out), "residual": rng.standard_normal(out), "bias": rng.standard_normal(channels)}
    arrays = {name: array.astype(np.float32) for name, array in arrays.items()}
    instance, kernels = built(form, arrays, options)
    outs = []
    for threads in (1, 2, 3):
        instance.run(threads=threads)
        outs.append(np.array(instance["out"]))
    expected = exact(form, arrays, options, kept)
    found = {"kernels": kernels, "equal": all((o == outs[0]).all() for o in outs),
             "error": float(np.abs(outs[0] - expected).max() / max(1, np.abs(expected).max()))}
    first = READ[form][0]
    arrays[first][0, 1, 1, 0] = np.nan
    instance[first][...] = arrays[first]
    instance.run()
    with np.errstate(invalid="ignore"):
        found["nan"] = bool((np.isnan(instance["out"]) == np.isnan(exact(form, arrays, options, kept))).all())
    return found


def main() -> None:
    print(json.dumps({f"{name}-{form}": measure(form, *case, cases is FLOAT)
                      for cases in (CASES, FLOAT) for name, (*case, forms) in cases.items() for form in forms}))


if __name__ == "__main__":
    main()
