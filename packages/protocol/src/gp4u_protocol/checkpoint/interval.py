"""How long to compute between two checkpoints: Daly's estimate, from what one costs and how often the node fails.

    J. T. Daly, "A higher order estimate of the optimum checkpoint interval for restart dumps", Future Generation
    Computer Systems 22 (2006) 303-312, equation 37; its first term is J. W. Young's (Comm. ACM 17 (1974) 530-531):

    t = sqrt(2 d M) * (1 + sqrt(d / 2M) / 3 + d / 18M) - d        for d < 2M, else t = M

with d the cost of one checkpoint and M the mean time between failures, both in seconds. It minimises the expected run
time of a job that stands still while it is saved. Ours goes on computing meanwhile, so d (measured from beginning to commit) is
an upper bound of what a checkpoint costs it, and t errs on the long side, by less than the loss it saves at these sizes.
"""

import math

INTERVAL_S_MIN = 10.0
INTERVAL_S_MAX = 3600.0
COSTS_BETWEEN_MIN = 2.0
"""A job is left alone for at least twice as long as a checkpoint of it takes."""
HAZARD_PER_HOUR_MIN = 1e-4
COST_S_MIN = 0.01
_WEIGHT = 0.3


def optimum_s(cost_s: float, failure_every_s: float) -> float:
    """Daly's optimum: seconds of computing between the end of one checkpoint and the beginning of the next."""
    if cost_s <= 0 or failure_every_s <= 0:
        raise ValueError("a cost and a time between failures are positive")
    if cost_s >= 2 * failure_every_s:
        return failure_every_s
    share = cost_s / (2 * failure_every_s)
    return math.sqrt(2 * cost_s * failure_every_s) * (1 + math.sqrt(share) / 3 + share / 9) - cost_s


def advised_interval_s(cost_s: float, hazard_per_hour: float) -> float:
    """The optimum within bounds: 10 s to an hour, and never less than twice the cost. Any finite numbers will do."""
    cost_s = max(cost_s, COST_S_MIN)
    failure_every_s = 3600 / max(hazard_per_hour, HAZARD_PER_HOUR_MIN)
    bounded = min(max(optimum_s(cost_s, failure_every_s), INTERVAL_S_MIN), INTERVAL_S_MAX)
    return max(bounded, COSTS_BETWEEN_MIN * cost_s)


def smoothed_cost_s(before_s: float | None, measured_s: float) -> float:
    """The cost as known after one more measurement: recent ones count most, one slow upload does not decide."""
    return measured_s if before_s is None else (1 - _WEIGHT) * before_s + _WEIGHT * measured_s
