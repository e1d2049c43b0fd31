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

That prior is where everybody starts when nothing is known. What the marketplace itself has seen moves it, level by
level (gamma-Poisson shrinkage; D. Clayton, J. Kaldor, Biometrics 43 (1987) 671-681; docs/design/reliability.md):

    fleet   m  = (a + N) / (b + T)            the hazard of this GPU model on everybody else's nodes
    owner   f  = (a + n) / (a + sum m t)      how the owner's other nodes did beside what the fleet would have
    node    Gamma(a, a / (m f)), then its own losses and hours

with a = 1.10, b = 2,330 h. Nothing is counted twice: the fleet leaves the owner out, the owner leaves the node out. With
nothing seen anywhere m f is the published mean, and the node's prior the published one.

What counts as a loss here is what was attributed to the host's hardware or software (`catalyst.incidents`), never the
platform's doing, the renter's, or what nobody knows. Losses by its network count for the router's hazard, for which it is all
the same why a run breaks off, and for uptime; the score does not hold them against the machine.

*Uptime* is no estimate but a record: of the time a node was meant to be there, the share that it was. Meant to be there are
the hours online and those that it was away by the fault of its host or network, until it came back; not those after a polite
goodbye or in maintenance, nor what the platform cost or nobody can explain. Its sample size is that time itself.
"""

import math
from dataclasses import dataclass

from gp4u_server.nodes.gamma import gamma_quantile

HORIZON_H = 24.0
PRIOR_SHAPE = 1.10
PRIOR_RATE_H = 2330.0


@dataclass(frozen=True)
class Tally:
    """Losses by the host in so many hours online."""

    losses: int = 0
    online_h: float = 0.0

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(self.losses + other.losses, self.online_h + other.online_h)

    def without(self, part: "Tally") -> "Tally":
        """This without `part` of it. Sums are a little older than their parts, so nothing falls below zero."""
        return Tally(max(0, self.losses - part.losses), max(0.0, self.online_h - part.online_h))


@dataclass(frozen=True)
class Prior:
    """What is expected of a node before it was ever seen: a Gamma distribution of its hazard, and what it rests on."""

    rate_h: float = PRIOR_RATE_H
    fleet: Tally = Tally()  # the same GPU model, other owners
    owner: Tally = Tally()  # the same owner, other nodes

    @property
    def hazard_per_hour(self) -> float:
        """Its mean."""
        return PRIOR_SHAPE / self.rate_h


PUBLISHED = Prior()


def fleet_hazard_per_hour(others: Tally) -> float:
    """m: the hazard of a GPU model by what other owners' nodes showed."""
    return (PRIOR_SHAPE + others.losses) / (PRIOR_RATE_H + others.online_h)


def owner_factor(losses: int, expected: float) -> float:
    """f: how many losses the owner's other nodes had beside those expected of them, drawn towards 1."""
    return (PRIOR_SHAPE + losses) / (PRIOR_SHAPE + expected)


def prior_of(fleet: Tally, owner: dict[str, Tally], hazards: dict[str, float]) -> Prior:
    """The prior of a node.

    `fleet`: its GPU model on other owners' nodes. `owner`: the owner's other nodes by model; `hazards`: m of each of them.
    """
    expected = sum(hazards[name] * tally.online_h for name, tally in owner.items())
    total = sum(owner.values(), Tally())
    mean = fleet_hazard_per_hour(fleet) * owner_factor(total.losses, expected)
    return Prior(PRIOR_SHAPE / mean, fleet, total)


def hazard_per_hour(losses: int, online_s: float, prior: Prior = PUBLISHED) -> float:
    """Posterior mean of the hazard, in losses per hour online."""
    return (PRIOR_SHAPE + losses) / (prior.rate_h + online_s / 3600)


def survival(
    losses: int, online_s: float, horizon_h: float = HORIZON_H, *, prior: Prior = PUBLISHED
) -> float:
    """Posterior predictive probability, 0 to 1, of staying up for `horizon_h` hours.

    The Gamma mixture of exponentials is a Lomax distribution: P = (b / (b + t))^a with the posterior's a and b.
    """
    rate_h = prior.rate_h + online_s / 3600
    return float((rate_h / (rate_h + horizon_h)) ** (PRIOR_SHAPE + losses))


INTERVAL = 0.90
"""How much of the posterior the interval holds; half of the rest lies on either side."""
DAY_S = 86_400.0


@dataclass(frozen=True)
class Record:
    """How well a node did and how well it will probably do. Shares are 0 to 1."""

    reliability: float  # mean probability of staying up for 24 h
    reliability_low: float  # with `INTERVAL`, that probability lies between these two
    reliability_high: float
    uptime: float | None  # None for a node that was never there
    seen_s: float  # what both rest on: time online and time lost

    @property
    def sentence(self) -> str:
        """For people: "99.1 %, 41 days seen"."""
        if self.uptime is None:
            return "never seen"
        days = self.seen_s / DAY_S
        seen = f"{days:.0f} days" if days >= 2 else f"{self.seen_s / 3600:.0f} hours"
        # Rounded down: nobody is called flawless who was not.
        return f"{math.floor(self.uptime * 1000) / 10:.1f} %, {seen} seen"


def record_of(losses: int, online_s: float, down_s: float, prior: Prior = PUBLISHED) -> Record:
    """The record of a node with so many losses by its host in `online_s` online, which was away for `down_s` by its own side.

    The interval is that of the survival probability exp(-hazard * 24 h) under the hazard's Gamma posterior; with nothing
    seen it is the prior's, and wide.
    """
    shape, rate_h = PRIOR_SHAPE + losses, prior.rate_h + online_s / 3600
    tail = (1 - INTERVAL) / 2
    worst, best = gamma_quantile(1 - tail, shape, rate_h), gamma_quantile(tail, shape, rate_h)
    seen_s = online_s + down_s
    return Record(
        reliability=survival(losses, online_s, prior=prior),
        reliability_low=math.exp(-worst * HORIZON_H),
        reliability_high=math.exp(-best * HORIZON_H),
        uptime=online_s / seen_s if seen_s > 0 else None,
        seen_s=seen_s,
    )
