"""Activations, elementwise on tensors of any rank; NaN comes out as NaN.

    relu        max(0, x)                               sigmoid   1 / (1 + e**-x)
    leaky_relu  x, or slope * x below 0                 tanh
    elu         x, or alpha (e**x - 1) below 0          silu      x sigmoid(x)
    gelu        x P(normal < x)                         softplus  log(1 + e**x)
    gelu_tanh   x / 2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x**3)))

Sources: leaky_relu Maas et al. 2013; elu Clevert et al. 2016; gelu and its tanh form Hendrycks and Gimpel 2016; silu Elfwing et
al. 2018.  Each gradient is an op of its own, one kernel; all but that of gelu_tanh can be differentiated again.
The gradients of relu, leaky_relu, elu, sigmoid and tanh read the output, so that x need not be kept; the others read x.
`ACTIVATIONS` is what dense layers look up: name -> (op, its gradient, which of "out" and "x" the gradient reads).
"""
from __future__ import annotations

from dlcore.graph import call, op
from dlcore.ops.arithmetic import exp, flat, mul, neg, scale, shift, square

LEAKY_SLOPE, ELU_ALPHA = 0.01, 1.0

relu_call = call("relu_forward(x: F[S] -> +out: F[S])", over="S", flops="S")
leaky_relu_call = call("leaky_relu_forward(x: F[S], slope: f32 -> +out: F[S])", over="S", flops="2 * S")
elu_call = call("elu_forward(x: F[S], alpha: f32 -> +out: F[S])", over="S", flops="22 * S")
sigmoid_call = call("sigmoid_forward(x: F[S] -> +out: F[S])", over="S", flops="22 * S")
tanh_call = call("tanh_forward(x: F[S] -> +out: F[S])", over="S", flops="24 * S")
gelu_call = call("gelu_forward(x: F[S] -> +out: F[S])", over="S", flops="45 * S")
gelu_tanh_call = call("gelu_tanh_forward(x: F[S] -> +out: F[S])", over="S", flops="28 * S")
silu_call = call("silu_forward(x: F[S] -> +out: F[S])", over="S", flops="23 * S")
softplus_call = call("softplus_forward(x: F[S] -> +out: F[S])", over="S", flops="40 * S")

relu_gradient_call = call("relu_gradient(dout: F[S], out: F[S] -> +dx: F[S])", over="S", flops="S")
leaky_relu_gradient_call = call("leaky_relu_gradient(dout: F[S], out: F[S], slope: f32 -> +dx: F[S])", over="S", flops="2 * S")
elu_gradient_call = call("elu_gradient(dout: F[S], out: F[S], alpha: f32 -> +dx: F[S])", over="S", flops="2 * S")
sigmoid_gradient_call = call("sigmoid_gradient(dout: F[S], out: F[S] -> +dx: F[S])", over="S", flops="3 * S")
tanh_gradient_call = call("tanh_gradient(dout: F[S], out: F[S] -> +dx: F[S])", over="S", flops="3 * S")
gelu_gradient_call = call("gelu_gradient(dout: F[S], x: F[S] -> +dx: F[S])", over="S", flops="49 * S")
gelu_tanh_gradient_call = call("gelu_tanh_gradient(dout: F[S], x: F[S] -> +dx: F[S])", over="S", flops="36 * S")
silu_gradient_call = call("silu_gradient(dout: F[S], x: F[S] -> +dx: F[S])", over="S", flops="27 * S")
softplus_gradient_call = call("softplus_gradient(dout: F[S], x: F[S] -> +dx: F[S])", over="S", flops="23 * S")


@op
def relu(x):
    """max(0, x)"""
    out = flat(relu_call, x)
    return out, lambda dout: relu_gradient(dout, out)


@op
def relu_gradient(dout, out):
    """dout where out > 0, else 0."""
    return flat(relu_gradient_call, dout, out), lambda d: (relu_gradient(d, out), None)


@op
def leaky_relu(x, slope: float = LEAKY_SLOPE):
    """x, or slope * x below 0; slope >= 0."""
    out = flat(leaky_relu_call, x, slope)
    return out, lambda dout: leaky_relu_gradient(dout, out, slope)


@op
def leaky_relu_gradient(dout, out, slope: float = LEAKY_SLOPE):
    """dout where out > 0, else slope * dout."""
    return flat(leaky_relu_gradient_call, dout, out, slope), lambda d: (leaky_relu_gradient(d, out, slope), None)


@op
def elu(x, alpha: float = ELU_ALPHA):
    """x, or alpha (e**x - 1) below 0; alpha >= 0."""
    out = flat(elu_call, x, alpha)
    return out, lambda dout: elu_gradient(dout, out, alpha)


@op
def elu_gradient(dout, out, alpha: float = ELU_ALPHA):
    """dout where out >= 0, else dout (out + alpha)."""
    return (flat(elu_gradient_call, dout, out, alpha),
            lambda d: (elu_gradient(d, out, alpha), relu_gradient(mul(d, dout), neg(out))))


@op
def sigmoid(x):
    """1 / (1 + e**-x)"""
    out = flat(sigmoid_call, x)
    return out, lambda dout: sigmoid_gradient(dout, out)


@op
def sigmoid_gradient(dout, out):
    """dout out (1 - out)"""
    return (flat(sigmoid_gradient_call, dout, out),
            lambda d: (sigmoid_gradient(d, out), mul(mul(d, dout), shift(scale(out, -2.0), 1.0))))


@op
def tanh(x):
    """The hyperbolic tangent."""
    out = flat(tanh_call, x)
    return out, lambda dout: tanh_gradient(dout, out)


@op
def tanh_gradient(dout, out):
    """dout (1 - out**2)"""
    return (flat(tanh_gradient_call, dout, out),
            lambda d: (tanh_gradient(d, out), scale(mul(mul(d, dout), out), -2.0)))


@op
def gelu(x):
    """x P(normal < x)"""
    return flat(gelu_call, x), lambda dout: gelu_gradient(dout, x)


@op
def gelu_gradient(dout, x):
    """dout (P(normal < x) + x density(x)); once more: density(x) (2 - x**2)"""
    def backward(d):
        density = scale(exp(scale(square(x), -0.5)), 0.3989422804014327)
        return gelu_gradient(d, x), mul(mul(d, dout), mul(density, shift(scale(square(x), -1.0), 2.0)))
    return flat(gelu_gradient_call, dout, x), backward


@op
def gelu_tanh(x):
    """gelu, with a tanh in the place of erf."""
    return flat(gelu_tanh_call, x), lambda dout: gelu_tanh_gradient(dout, x)


@op
def silu(x):
    """x sigmoid(x), also called swish."""
    return flat(silu_call, x), lambda dout: silu_gradient(dout, x)


@op
def silu_gradient(dout, x):
    """dout s (1 + x (1 - s)), s = sigmoid(x); once more: s (1 - s) (2 + x (1 - 2 s))"""
    def backward(d):
        s = sigmoid(x)
        slope = shift(mul(x, shift(scale(s, -2.0), 1.0)), 2.0)
        return silu_gradient(d, x), sigmoid_gradient(mul(mul(d, dout), slope), s)
    return flat(silu_gradient_call, dout, x), backward


@op
def softplus(x):
    """log(1 + e**x)"""
    return flat(softplus_call, x), lambda dout: softplus_gradient(dout, x)


@op
def softplus_gradient(dout, x):
    """dout sigmoid(x)"""
    return (flat(softplus_gradient_call, dout, x),
            lambda d: (softplus_gradient(d, x), sigmoid_gradient(mul(d, dout), sigmoid(x))))


@op
def gelu_tanh_gradient(dout, x):
    """dout times the derivative of gelu_tanh; it has no derivative of its own."""
    return flat(gelu_tanh_gradient_call, dout, x), None


ACTIVATIONS = {
    "relu": (relu, relu_gradient, "out"), "leaky_relu": (leaky_relu, leaky_relu_gradient, "out"),
    "elu": (elu, elu_gradient, "out"), "sigmoid": (sigmoid, sigmoid_gradient, "out"), "tanh": (tanh, tanh_gradient, "out"),
    "gelu": (gelu, gelu_gradient, "x"), "gelu_tanh": (gelu_tanh, gelu_tanh_gradient, "x"), "silu": (silu, silu_gradient, "x"),
    "softplus": (softplus, softplus_gradient, "x")}
