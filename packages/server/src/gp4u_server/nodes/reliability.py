"""How likely a node is to survive: a Gamma-exponential model, pure.

A node's losses are taken as a Poisson process with an unknown hazard (losses per hour online). The hazard's prior is
a Gamma distribution fitted by moments to three published rates of hosts with 8 GPUs, in failures per 1,000 node-days:

* 3.79: 419 unexpected interruptions on 16,384 H100 (2,048 hosts) in 54 days (Llama 3 Herd of Models, Table 5,
  arXiv 2407.21783);
* 6.50: RSC-1, 16,000 A100, 11 months (Revisiting Reliability in Large-Scale ML Research Clusters, HPCA 2025,
  arXiv 2410.21680);
* 23.7: the same paper's measured job MTTF of 7.9 h on 1,024 GPUs (128 hosts): 24 / (7.9 * 128) per node-day.

Mean 11.3 and sample standard deviation 10.8 give shape = (mean / sd)^2 = 1.10 and rate = shape / mean = 2,330 hours.
All three are data centres; machines at home do worse, and a node's own losses, each of which weighs about as much as
the whole prior, say so soon.
"""

HORIZON_H = 24.0
PRIOR_SHAPE = 1.10
PRIOR_RATE_H = 2330.0


def hazard_per_hour(losses: int, online_s: float) -> float:
    """Posterior mean of the hazard, in losses per hour online."""
    return (PRIOR_SHAPE + losses) / (PRIOR_RATE_H + online_s / 3600)


def survival(losses: int, online_s: float, horizon_h: float = HORIZON_H) -> float:
    """Posterior predictive probability, 0 to 1, of staying up for `horizon_h` hours.

    The Gamma mixture of exponentials is a Lomax distribution: P = (b / (b + t))^a with the posterior's a and b.
    """
    rate_h = PRIOR_RATE_H + online_s / 3600
    return float((rate_h / (rate_h + horizon_h)) ** (PRIOR_SHAPE + losses))
