"""Quantiles of the gamma distribution, pure: the one piece of statistics that reliability needs and Python lacks."""

import math

_TERMS_MAX = 10_000
_PRECISION = 1e-12


def gamma_quantile(probability: float, shape: float, rate: float) -> float:
    """x with P(X <= x) = `probability` (between 0 and 1) for X ~ Gamma(shape, rate), by bisection."""
    high = max(1.0, shape)
    while gamma_cdf(high, shape) < probability:
        high *= 2
    low = 0.0
    while high - low > _PRECISION * max(1.0, high):
        middle = (low + high) / 2
        if gamma_cdf(middle, shape) < probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2 / rate


def gamma_cdf(x: float, shape: float) -> float:
    """The regularised lower incomplete gamma function P(shape, x), by its power series (NIST DLMF 8.11.4)."""
    if x <= 0:
        return 0.0
    term = total = 1 / shape
    for number in range(1, _TERMS_MAX):
        term *= x / (shape + number)
        total += term
        if term < total * _PRECISION:
            break
    return min(1.0, total * math.exp(shape * math.log(x) - x - math.lgamma(shape)))
