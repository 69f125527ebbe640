"""Matrix products, and dense layers: a product, a bias and an activation in one pass.

    nn  out = a b          da = dout b^T     db = a^T dout
    nt  out = a b^T        da = dout b       db = dout^T a
    tn  out = a^T b        da = b dout^T     db = a dout

    dense  out = f(x weight + bias)      d = dout f'(...),  dx = d weight^T,  dweight = x^T d,  dbias = column sums of d

The three products are closed under differentiation.  The derivatives of relu, leaky_relu, elu, sigmoid and tanh are told
by `out`, so they are applied to the tiles of the product while these are in registers or in the first-level cache.  Those
of gelu, gelu_tanh, silu and softplus need what the activation was applied to: where a gradient may be asked for, the
product is kept and the activation is an op of its own; `differentiable=False` applies it to the tiles too.

The gradient that one row gives to a dense layer is the outer product of its x and d, so its squared norm is |x|**2 |d|**2
(Goodfellow, Efficient per-example gradient computations, 2015), and |d|**2 more with a bias.
"""
from __future__ import annotations

from dlcore.errors import ShapeError, UsageError
from dlcore.graph import call, op
from dlcore.ops.activation import ACTIVATIONS, ELU_ALPHA, LEAKY_SLOPE
from dlcore.ops.reduction import column_sum

NONE, RELU, LEAKY_RELU, ELU, SIGMOID, TANH, GELU, GELU_TANH, SILU, SOFTPLUS = range(10)
CODES = {None: NONE, "relu": RELU, "leaky_relu": LEAKY_RELU, "elu": ELU, "sigmoid": SIGMOID, "tanh": TANH, "gelu": GELU,
         "gelu_tanh": GELU_TANH, "silu": SILU, "softplus": SOFTPLUS}
PARAMETERS = {"leaky_relu": LEAKY_SLOPE, "elu": ELU_ALPHA}

matmul_calls = {
    "nn": call("matmul_nn(a: F[M, K], b: F[K, N] -> +out: F[M, N])", over="", flops="2 * M * N * K"),
    "nt": call("matmul_nt(a: F[M, K], b: F[N, K] -> +out: F[M, N])", over="", flops="2 * M * N * K"),
    "tn": call("matmul_tn(a: F[K, M], b: F[K, N] -> +out: F[M, N])", over="", flops="2 * M * N * K")}
dense_forward = call("dense_forward(x: F[M, K], weight: f32[K, N], bias: f32[N]?, activation: i64, parameter: f32"
                     " -> out: F[M, N])", over="", flops="2 * M * N * K")
dense_sample_norms = call("dense_sample_norms(x: F[N, K], dout: F[N, C], biased: i64 -> +norms2: f32[N])", over="N",
                          flops="2 * N * (K + C)")


@op
def matmul(a, b, form: str = "nn"):
    """a b for "nn", a b^T for "nt", a^T b for "tn"; matrices."""
    if form not in matmul_calls:
        raise UsageError(f"matmul knows no form {form!r}", expected=", ".join(matmul_calls))

    def backward(dout):
        if form == "nn":
            return matmul(dout, b, "nt"), matmul(a, dout, "tn")
        if form == "nt":
            return matmul(dout, b), matmul(dout, a, "tn")
        return matmul(b, dout, "nt"), matmul(a, dout)
    return matmul_calls[form](a, b), backward


@op
def dense(x, weight, bias=None, activation: str | None = None, differentiable: bool = True):
    """f(x weight + bias).  x: [..., K], weight: [K, N], bias: [N] or None, out: [..., N].

    activation: None or a name of `dlcore.ops.activation.ACTIVATIONS`.  differentiable=False: nothing is kept for a
    gradient, and asking for one raises NotDifferentiableError.  Raises UsageError (activation), ShapeError (shapes)."""
    if activation not in CODES:
        raise UsageError(f"dense knows no activation {activation!r}", expected=", ".join(n for n in CODES if n),
                         hint="apply other functions to what dense returns")
    if x.ndim < 1 or weight.ndim != 2 or x.shape[-1] != weight.shape[0]:
        raise ShapeError("dense: the last axis of x is the first of weight", where=x.graph.where(),
                         expected="x [..., K] and weight [K, N]", got=f"x {list(x.shape)} and weight {list(weight.shape)}")
    rows, N = x.reshape(-1, x.shape[-1]), weight.shape[1]
    function, gradient, reads = ACTIVATIONS.get(activation, (None, None, ""))
    fused = reads != "x" or not differentiable
    code = CODES[activation] if fused else NONE
    out = dense_forward(rows, weight, bias, code, PARAMETERS.get(activation, 0.0)).reshape(*x.shape[:-1], N)
    if not fused:
        out = function(out)

    def backward(dout):
        if gradient is not None:
            # The product that the forward pass made: the planner finds that the two calls are equal and does one.  Said
            # as an op, it stands on the tape, so that the gradient can be differentiated again.
            dout = gradient(dout, dense(x, weight, bias) if reads == "x" else out)
        rows, d = x.reshape(-1, x.shape[-1]), dout.reshape(-1, N)       # views made here stand on the tape
        backward.sample_norms = lambda: sample_norms(x, d, bias)
        dx, dweight = matmul(d, weight, "nt").reshape(*x.shape), matmul(rows, d, "tn")
        return (dx, dweight) if bias is None else (dx, dweight, column_sum(d))
    return out, backward if differentiable else None


def sample_norms(x, d, bias):
    """f32[N]: the squared norm of the gradient that each row of x gives to weight and bias."""
    if x.ndim != 2:
        raise ShapeError("dense: norms per sample are known where a sample is one row", where=x.graph.where(),
                         expected="x [N, K]", got=str(list(x.shape)))
    return dense_sample_norms(x, d, 0 if bias is None else 1)
