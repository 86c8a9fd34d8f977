"""Activations by their published formulas, of one number, in as many digits as mpmath computes."""

from mpmath import exp, expm1, log1p, mpf, ncdf, pi, sqrt, tanh

ACTIVATIONS = {
    "identity": lambda z: z,
    "relu": lambda z: max(z, 0),
    "leaky_relu": lambda z: z if z > 0 else mpf("0.01") * z,
    "elu": lambda z: z if z > 0 else expm1(z),
    "selu": lambda z: (
        mpf("1.0507009873554804934193349852946")
        * (z if z > 0 else mpf("1.6732632423543772848170429916717") * expm1(z))
    ),
    "softplus": lambda z: log1p(exp(z)),
    "sigmoid": lambda z: 1 / (1 + exp(-z)),
    "tanh": tanh,
    "gelu": lambda z: z * ncdf(z),
    # 1 / (1 + exp(-2 u)) is (1 + tanh(u)) / 2, without cancellation.
    "gelu_tanh": lambda z: z / (1 + exp(-2 * sqrt(2 / pi) * (z + mpf("0.044715") * z**3))),
    "silu": lambda z: z / (1 + exp(-z)),
    "mish": lambda z: z * tanh(log1p(exp(z))),
}
