"""What each kind of evidence says of an incident: facts in, findings out. Pure."""

from collections.abc import Iterator
from datetime import timedelta

from gp4u_server.catalyst.incidents.types import Cause, DeviceSign, Facts, Finding, IncidentKind, Witness

ANY = frozenset(Cause) - {Cause.UNKNOWN}
HARDWARE = frozenset({Cause.HOST_HARDWARE})
SOFTWARE = frozenset({Cause.HOST_SOFTWARE})
HOST = HARDWARE | SOFTWARE
NODE_SIDE = HOST | {Cause.NETWORK}
RENTER = frozenset({Cause.RENTER_JOB})
PLATFORM = frozenset({Cause.PLATFORM})

OWN_END = RENTER | HARDWARE
"""A job can end itself as it likes, so its end never speaks against the host's software: else anybody could lower anybody's
score. A failing card may be behind it; then the card's own events say so."""

SIGNS_BEFORE = timedelta(minutes=30)
SIGNS_AFTER = timedelta(minutes=2)
"""A failing card says so minutes before; what the kernel logged at the very end is read when the node is back."""
JOB_SIGNS_BEFORE = timedelta(seconds=60)
MASS_FRACTION = 1 / 3
MASS_NODES_MIN = 3
SITE_NODES_MIN = 2
STOOD_STILL_FRACTION = 0.5
"""An agent that itself did not run for at least this share of its silence was not cut off: its machine stood still."""
STOOD_STILL_S_MIN = 2.0

# Which reasons of an end or a failed start speak for what. The words are those of the agent and of `jobs.decisions`.
_REASONS: dict[str, tuple[frozenset[Cause], Cause | None, str]] = {
    "out_of_memory": (RENTER, Cause.RENTER_JOB, "The job went over the memory that it asked for."),
    "disk_full": (RENTER, Cause.RENTER_JOB, "The job filled the disk that it asked for."),
    "bad_job_folder": (RENTER, Cause.RENTER_JOB, "The folder sent with the job cannot be unpacked."),
    "image_unavailable": (RENTER | SOFTWARE, None, "The image could not be had."),
    "fetch_failed": (SOFTWARE | {Cause.NETWORK} | PLATFORM, None, "The job's files could not be fetched."),
    "restore_failed": (SOFTWARE | HARDWARE | PLATFORM, None, "The checkpoint could not be read back."),
    "not_claimed": (NODE_SIDE | PLATFORM, None, "The node did not take the job in time."),
    "node_offline": (NODE_SIDE | PLATFORM, None, "The node was not there."),
    "agent_error": (HOST, Cause.HOST_SOFTWARE, "The agent itself failed."),
    "start_failed": (RENTER | SOFTWARE, None, "What starts the job on its node failed."),
    "shim_lost": (HOST, Cause.HOST_SOFTWARE, "The process that kept the job on its node was ended."),
    "engine_failed": (HOST, Cause.HOST_SOFTWARE, "The node's container engine failed."),
    "host_disk_full": (HOST, Cause.HOST_SOFTWARE, "The disk of the node itself was full."),
}
_OURS_TOO = frozenset({"fetch_failed", "restore_failed", "not_claimed", "node_offline"})
"""Failures of runs that an outage of ours can cause. Others, such as an exit code, it can't."""


def findings_of(facts: Facts) -> list[Finding]:
    """All evidence there is, of every kind."""
    found = [*_platform(facts), *_gateway(facts), *_telemetry(facts)]
    if facts.kind is IncidentKind.NODE_LOST:
        found += _agent(facts)
    else:
        found += [*_run_report(facts), *_comparison(facts)]
    return found


def _platform(facts: Facts) -> Iterator[Finding]:
    if facts.kind is not IncidentKind.NODE_LOST and facts.reason not in _OURS_TOO:
        return
    if facts.ours:
        yield Finding(
            Witness.PLATFORM,
            "gateway_died",
            "The gateway that watched the node had stopped: nobody could tell whether the node lived.",
            PLATFORM,
            Cause.PLATFORM,
            "gateway_died",
        )
    if facts.gateway_unsure:
        yield Finding(
            Witness.PLATFORM,
            "authority_gap",
            "The gateway had just begun, or could not renew its own right to judge, around that time.",
            PLATFORM,
            Cause.PLATFORM,
            "authority_gap",
        )


def _gateway(facts: Facts) -> Iterator[Finding]:
    if facts.kind is not IncidentKind.NODE_LOST:
        if facts.node_stayed:
            yield Finding(
                Witness.GATEWAY,
                "node_stayed",
                "The node itself went on beating before, at and after that moment.",
                HOST | RENTER,
            )
        return
    near = facts.neighbours
    if (
        near.of_gateway >= MASS_NODES_MIN
        and near.of_gateway > near.gateway_nodes * MASS_FRACTION
        and near.gateway_owners >= 2
    ):
        yield Finding(
            Witness.GATEWAY,
            "mass_loss",
            f"{near.of_gateway} of the gateway's {near.gateway_nodes} nodes, of {near.gateway_owners} owners, went "
            "within the same seconds: rather our side or the network between than any one of them.",
            PLATFORM | {Cause.NETWORK},
            Cause.PLATFORM,
            "mass_loss",
        )
        return
    if near.of_site >= SITE_NODES_MIN and near.of_site * 2 >= near.site_nodes:
        yield Finding(
            Witness.GATEWAY,
            "site_loss",
            f"{near.of_site} of the owner's {near.site_nodes} nodes in that region went within the same seconds: "
            "what they share is their link or their power.",
            HARDWARE | {Cause.NETWORK},
            Cause.NETWORK,
            "site_link",
        )
        return
    if facts.socket_open is False:
        yield Finding(
            Witness.GATEWAY,
            "socket_closed",
            "This node alone went, and its connection was closed rather than silent: something at its end went away.",
            NODE_SIDE,
        )
    else:
        yield Finding(
            Witness.GATEWAY,
            "silence_alone",
            "This node alone fell silent; others of the same gateway went on.",
            NODE_SIDE,
        )


def _telemetry(facts: Facts) -> Iterator[Finding]:
    job = facts.kind is not IncidentKind.NODE_LOST
    earliest = facts.began_at - (JOB_SIGNS_BEFORE if job else SIGNS_BEFORE)
    latest = max(facts.began_at, facts.opened_at) + SIGNS_AFTER
    near = [sign for sign in facts.signs if earliest <= sign.at <= latest]
    critical = [sign for sign in near if sign.severity == "critical"]
    warnings = [sign for sign in near if sign.severity == "warning"]
    own_errors = [sign for sign in near if sign.kind == "xid" and sign.severity == "info"]
    if critical:
        sign = critical[-1]
        yield Finding(
            Witness.TELEMETRY,
            "device_fault",
            f"A GPU of the node showed {_said(sign)} shortly before.",
            HARDWARE,
            Cause.HOST_HARDWARE,
            _sub_class(sign),
        )
    elif warnings and not job:  # a job can heat its card and then end itself
        sign = warnings[-1]
        yield Finding(
            Witness.TELEMETRY,
            "device_warning",
            f"A GPU of the node showed {_said(sign)} shortly before; that alone need not end anything.",
            ANY - PLATFORM,
            Cause.HOST_HARDWARE,
            _sub_class(sign),
        )
    elif job and own_errors:
        sign = own_errors[-1]
        yield Finding(
            Witness.TELEMETRY,
            "job_xid",
            f"A GPU of the job logged {_said(sign)}, which a program's own error causes as a rule.",
            RENTER | HARDWARE,
            Cause.RENTER_JOB,
            _sub_class(sign),
        )


def _said(sign: DeviceSign) -> str:
    return f"XID {sign.code}" if sign.kind == "xid" else f"{sign.kind.replace('_', ' ')} {sign.code}".strip()


def _sub_class(sign: DeviceSign) -> str:
    return f"{sign.kind}_{sign.code}" if sign.kind == "xid" else sign.kind


def _agent(facts: Facts) -> Iterator[Finding]:
    if facts.away_s is None:
        return
    if facts.same_session:
        yield Finding(
            Witness.AGENT,
            "paused",
            "It went on with the connection that it had. An agent that runs gives up a silent one: it had stood still.",
            HOST,
            Cause.HOST_SOFTWARE,
            "machine_paused",
        )
        return
    before, after = facts.before, facts.after
    if before is None or after is None or not (before.boot_id and after.boot_id and before.run_id):
        return
    if after.boot_id != before.boot_id:
        if after.last_run == "clean":
            yield Finding(
                Witness.AGENT,
                "shut_down",
                "The machine was started again, and its agent had been told to end before: somebody switched it off.",
                HOST,
                Cause.HOST_SOFTWARE,
                "machine_shut_down",
            )
        else:
            yield Finding(
                Witness.AGENT,
                "restarted",
                "The machine was started again and nothing had ended its agent before: power, kernel or hardware.",
                HOST,
                Cause.HOST_HARDWARE,
                "machine_restarted",
            )
    elif after.run_id != before.run_id:
        ended = "was ended by somebody" if after.last_run == "clean" else "died"
        kept = f" {after.runs_kept} of its jobs lived on meanwhile." if after.runs_kept else ""
        yield Finding(
            Witness.AGENT,
            "agent_restarted",
            f"The machine ran on; the agent {ended} and was started again.{kept}",
            HOST,
            Cause.HOST_SOFTWARE,
            "agent_stopped" if after.last_run == "clean" else "agent_crashed",
        )
    elif after.stood_still_s >= max(STOOD_STILL_S_MIN, STOOD_STILL_FRACTION * facts.away_s):
        yield Finding(
            Witness.AGENT,
            "paused",
            f"The same agent is back and did not run itself for {after.stood_still_s:.0f} s: its machine stood still.",
            HOST,
            Cause.HOST_SOFTWARE,
            "machine_paused",
        )
    else:
        yield Finding(
            Witness.AGENT,
            "lived_on",
            "The same agent is back and had been running all the time: only the way to it was gone.",
            frozenset({Cause.NETWORK}) | PLATFORM,
            Cause.NETWORK,
            "link_lost",
        )


def _run_report(facts: Facts) -> Iterator[Finding]:
    reason = facts.reason or ""
    known = _REASONS.get(reason)
    if known is not None:
        fits, points_at, sentence = known
        yield Finding(Witness.RUN_REPORT, reason, sentence, fits, points_at, reason)
    elif reason.startswith("exit_"):
        yield Finding(
            Witness.RUN_REPORT,
            "exit_code",
            f"The command ended by itself with code {reason.removeprefix('exit_')}.",
            OWN_END,
            Cause.RENTER_JOB,
            reason,
        )
    elif reason in ("signal_9", "signal_15"):
        yield Finding(
            Witness.RUN_REPORT,
            "killed",
            f"The command was ended by signal {reason.removeprefix('signal_')}, by whom is not known.",
            HOST | RENTER,
        )
    elif reason.startswith("signal_"):
        yield Finding(
            Witness.RUN_REPORT,
            "signal",
            f"The command was ended by signal {reason.removeprefix('signal_')}, as by an error of its own.",
            OWN_END,
            Cause.RENTER_JOB,
            reason,
        )


def _comparison(facts: Facts) -> Iterator[Finding]:
    if facts.failed_elsewhere:
        yield Finding(
            Witness.COMPARISON,
            "fails_elsewhere",
            f"The same job failed on {facts.failed_elsewhere} other node(s), too.",
            RENTER | PLATFORM,
            Cause.RENTER_JOB,
        )
    elif facts.others_failed_here >= 2:
        yield Finding(
            Witness.COMPARISON,
            "others_fail_here",
            f"{facts.others_failed_here} jobs of other renters failed on this node around that time.",
            HOST,
            Cause.HOST_SOFTWARE,
            "fails_jobs",
        )
    elif facts.ran_elsewhere:
        yield Finding(
            Witness.COMPARISON,
            "runs_elsewhere",
            "The same job ran on another node afterwards.",
            ANY - RENTER,
        )
    elif facts.others_ran_here:
        yield Finding(
            Witness.COMPARISON,
            "others_run_here",
            f"{facts.others_ran_here} other job(s) ran on this node through that time.",
            RENTER | HOST,
        )
