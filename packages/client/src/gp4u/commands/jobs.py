"""Jobs: list, show, read output, stop, explain."""

import sys
from typing import Any

import click
from rich.text import Text

from gp4u.api import ApiClient, ApiError
from gp4u.following import FINAL_STATES, follow, read_timeline
from gp4u.output import (
    FAILED,
    NOT_FOUND,
    ago,
    client,
    console,
    did_you_mean,
    duration,
    fail,
    json_option,
    money,
    print_json,
    size,
    state,
    table,
)

STATES = ["queued", "starting", "running", "recovering", "stopping", "done", "failed", "stopped"]
_EVENT_STYLE = {
    "node_lost": "red",
    "failed": "red",
    "node_suspect": "yellow",
    "waiting": "yellow",
    "failed_over": "yellow",
    "moving": "yellow",
    "resumed": "green",
    "running": "green",
    "done": "green",
}


def find_job(api: ApiClient, reference: str) -> dict[str, Any]:
    """The job with this id, the newest with this name, or the newest of all for `last`."""
    if reference.startswith("job_"):
        try:
            job: dict[str, Any] = api.get(f"/jobs/{reference}")
        except ApiError as error:
            if error.status != 404:
                raise
        else:
            return job
    known: list[str] = []
    for job in api.pages("/jobs", limit=500):
        if reference in {"last", job["name"]}:
            return job
        known.append(job["id"] if reference.startswith("job_") else job["name"])
    if not known:
        fail("You have no jobs yet. `gp4u run job.yaml` starts one.", NOT_FOUND)
    fail(f"You have no job {reference}.{did_you_mean(reference, known)} `gp4u ps -a` lists yours.", NOT_FOUND)


def event_line(event: dict[str, Any]) -> Text:
    """One line of the timeline."""
    line = Text(event["at"][11:23].ljust(12, "0") + "  ", style="dim")
    line.append(event["title"], style=_EVENT_STYLE.get(event["kind"], ""))
    if event["ms"] is not None:
        line.append(f"  {event['ms']} ms", style="cyan")
    if event["cost_micros"]:
        line.append(f"  {money(event['cost_micros'])}", style="dim")
    if event["detail"].get("sentence"):
        line.append(f"  {event['detail']['sentence']}", style="dim")
    return line


def job_line(job: dict[str, Any]) -> list[Any]:
    """One row of `gp4u ps`."""
    placement = job["placement"]
    progress = job["progress"]
    return [
        job["id"],
        job["name"],
        state(job["state"]),
        f"{placement['node_name']} ({placement['gpus']} × {placement['gpu_model']})" if placement else "-",
        _progress(progress) if progress else "-",
        duration(job["running_s"]),
        money(job["charged_micros"] - job["refunded_micros"]),
        ago(job["created_at"]),
    ]


@click.command()
@click.option("-a", "--all", "all_jobs", is_flag=True, help="Also jobs that have ended.")
@click.option(
    "--state", "states", multiple=True, type=click.Choice(STATES), help="Only these states; repeatable."
)
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000))
@json_option
def ps(all_jobs: bool, states: tuple[str, ...], limit: int, as_json: bool) -> None:
    """List your jobs, newest first."""
    wanted = list(states) or (None if all_jobs else [name for name in STATES if name not in FINAL_STATES])
    with client() as api:
        items = list(api.pages("/jobs", limit=limit, state=wanted))
        if as_json:
            print_json(items)
            return
        table(
            ["JOB", "NAME", "STATE", "NODE", "PROGRESS", "RAN", "COST", "CREATED"],
            [job_line(job) for job in items],
            empty="No jobs here. `gp4u run job.yaml` starts one; `gp4u ps -a` shows those that ended.",
            right=frozenset({5, 6}),
            droppable=["CREATED", "RAN", "COST", "PROGRESS", "NODE"],
        )


@click.command()
@click.argument("job")
@json_option
def show(job: str, as_json: bool) -> None:
    """Show JOB (id, name, or `last`) with its timeline."""
    with client() as api:
        found = find_job(api, job)
        events = read_timeline(api, found["id"])
        if as_json:
            print_json({**found, "events": events})
            return
        print_job(found)
        console.print()
        for event in events:
            console.print(event_line(event))


def promise_lines(job: dict[str, Any]) -> list[str]:
    """What the job gets when its node dies, before it can, line by line. An older platform does not say."""
    promise = job.get("promise") or {}
    lines = [promise.get("says"), promise.get("standby")]
    if promise.get("why_not_more"):
        lines.append(f"Why not more: {promise['why_not_more']}")
    return [line for line in lines if line]


_PHASES = ("detect_ms", "decide_ms", "restore_ms", "start_ms", "recovery_ms", "first_step_ms")


def _as_it_happened(measured: tuple[str, int]) -> tuple[int, str]:
    """Sorts the parts of a failover by when they happen; what is not known here comes last."""
    name = measured[0]
    return _PHASES.index(name) if name in _PHASES else len(_PHASES), name


def print_job(job: dict[str, Any]) -> None:
    """The summary of a job."""
    console.print(Text.assemble((job["name"], "bold"), "  ", state(job["state"]), "  ", (job["id"], "dim")))
    if job["detail"]:
        console.print(job["detail"])
    waiting = job.get("waiting")
    for hint in (waiting or {}).get("hints", []):
        console.print(f"  • {hint['sentence']}", style="yellow")
    if waiting and waiting.get("held_back_until"):
        console.print(f"  • it keeps a pause until {waiting['held_back_until'][:16]}Z", style="yellow")
    placement = job["placement"]
    arriving = placement.get("arriving") if placement else None
    if arriving and not arriving["done_at"] and not job["ended_at"]:
        left, total = size(arriving["bytes"]), size(arriving["bytes_total"])
        console.print(f"Still arriving: {arriving['files']} files, {left} of {total}", style="yellow")
    if placement and placement.get("notice"):
        notice = placement["notice"]
        console.print(
            f"Leaves {placement['node_name']} by {notice['deadline_at'][:19]}Z ({notice['reason']}): {notice['sentence']}",
            style="yellow",
        )
    if placement:
        console.print(
            f"On {placement['node_name']} in {placement['region']}: {placement['gpus']} × {placement['gpu_model']}"
            f"{' (simulated)' if placement['simulated'] else ''} at {money(placement['rate_per_hour_micros'])}/h, "
            f"epoch {placement['epoch']}"
        )
        if placement["recovery_ms"]:
            measured = sorted(placement["recovery_ms"].items(), key=_as_it_happened)
            parts = ", ".join(
                f"{name.removesuffix('_ms').replace('_', ' ')} {ms} ms" for name, ms in measured
            )
            console.print(f"Last failover: {parts}")
    if job.get("standby"):
        console.print(_standby(job["standby"]))
    console.print(
        f"Ran {duration(job['running_s'])}, charged {money(job['charged_micros'])}, given back "
        f"{money(job['refunded_micros'])}; {job['checkpoints_count']} checkpoints, last {ago(job['last_checkpoint_at'])}"
    )
    if job["progress"]:
        console.print("Progress: " + _progress(job["progress"]))
    if job["state"] not in FINAL_STATES:
        for line in promise_lines(job):
            console.print(line, style="dim")


def _standby(standby: dict[str, Any]) -> str:
    """The second node of a hot job, in a line."""
    if standby["state"] == "none":
        return f"No standby: {standby['why_none'] or 'one is being chosen.'} Ordinary protection; no standby is charged."
    held = (
        f"checkpoint {standby['checkpoint_seq']} held"
        if standby["checkpoint_seq"]
        else "no checkpoint held yet"
    )
    line = f"Standby on {standby['node_name']} in {standby['region']}: {held}, "
    if standby["state"] == "ready":
        line += f"ready since {ago(standby['ready_since'])}, costs {money(standby['rate_per_hour_micros'])}/h"
    else:
        line += f"not ready, and not charged ({money(standby['rate_per_hour_micros'])}/h from when it is)"
    return f"{line}. {standby['problem'] or ''}".rstrip()


@click.command()
@click.argument("job")
@click.option("-f", "--follow", "following", is_flag=True, help="Go on until the job ends.")
@click.option("--offset", default=0, type=click.IntRange(0), help="Start at this byte of the output.")
def logs(job: str, following: bool, offset: int) -> None:
    """Print the output of JOB (id, name, or `last`)."""
    with client() as api:
        found = find_job(api, job)
        if following:
            for update in follow(api, found["id"], log_offset=offset):
                if update.kind == "log":
                    click.echo(update.data["text"], nl=False)
            return
        while True:
            page = api.get(f"/jobs/{found['id']}/log", offset=offset)
            click.echo(page["text"], nl=False)
            if page["next_offset"] == offset:
                return
            offset = page["next_offset"]


@click.command()
@click.argument("job")
@click.option("--wait", is_flag=True, help="Return only when it has ended.")
@json_option
def stop(job: str, wait: bool, as_json: bool) -> None:
    """Stop JOB (id, name, or `last`) gracefully: a final checkpoint, then the end."""
    with client() as api:
        found = find_job(api, job)
        stopped = api.post(f"/jobs/{found['id']}/stop")
        if wait:
            for _ in follow(api, found["id"]):
                pass
            stopped = api.get(f"/jobs/{found['id']}")
        if as_json:
            print_json(stopped)
        else:
            console.print(f"{stopped['name']} is {stopped['state']}.")


@click.command()
@click.argument("job")
@json_option
def why(job: str, as_json: bool) -> None:
    """Explain why JOB (id, name, or `last`) runs where it runs: every candidate with its numbers."""
    with client() as api:
        found = find_job(api, job)
        decisions = api.get(f"/jobs/{found['id']}/decisions")
        if as_json:
            print_json(decisions)
            return
        if not decisions:
            console.print("No decision yet: the job is queued.", style="dim")
        for decision in decisions:
            console.print(
                Text.assemble(("Epoch " + str(decision["epoch"]), "bold"), f"  {decision['summary']}")
            )
            table(
                [
                    "",
                    "NODE",
                    "GPU",
                    "REGION",
                    "$/H",
                    "RUN",
                    "HAZARD/H",
                    "LOSS",
                    "DATA",
                    "EXPECTED",
                    "EXCLUDED",
                ],
                [_candidate_row(candidate) for candidate in decision["candidates"]],
                empty="No candidate at all.",
                right=frozenset({4, 5, 6, 7, 8, 9}),
                droppable=["DATA", "LOSS", "HAZARD/H", "RUN", "REGION"],
            )
            console.print()


def _candidate_row(candidate: dict[str, Any]) -> list[Any]:
    run_s, hazard = candidate["expected_run_s"], candidate["hazard_per_hour"]
    return [
        Text("→", style="green") if candidate["chosen"] else "",
        candidate["node_name"],
        candidate["gpu_model"],
        candidate["region"],
        money(candidate["rate_per_hour_micros"]),
        duration(run_s) if run_s is not None else "-",
        f"{hazard:.5f}" if hazard is not None else "-",
        money(candidate["expected_loss_micros"]),
        money(candidate["data_movement_micros"]),
        money(candidate["expected_cost_micros"]),
        candidate["excluded_because"] or "",
    ]


def _progress(progress: dict[str, Any]) -> str:
    total = progress["total_steps"]
    return f"{progress['step']}/{total}" if total else f"step {progress['step']}"


def watch(api: ApiClient, job_id: str, *, show_log: bool = True) -> dict[str, Any]:
    """Print the job's timeline and output live; returns the job when it has ended. Ctrl-C leaves it running."""
    shown_checkpoints = 0
    try:
        for update in follow(api, job_id):
            if update.kind == "timeline":
                if update.data["kind"] == "checkpoint":
                    shown_checkpoints += 1
                    if shown_checkpoints > 3 and shown_checkpoints % 10:
                        continue
                console.print(event_line(update.data))
            elif update.kind == "log" and show_log:
                click.echo(update.data["text"], nl=False)
    except KeyboardInterrupt:
        console.print(f"\nThe job goes on. `gp4u logs -f {job_id}` follows it, `gp4u stop {job_id}` ends it.")
        sys.exit(130)
    job: dict[str, Any] = api.get(f"/jobs/{job_id}")
    return job


def exit_for(job: dict[str, Any]) -> None:
    """Exit 1 when the job failed."""
    if job["state"] == "failed":
        sys.exit(FAILED)


@click.group()
def jobs() -> None:
    """The verbs for jobs, grouped."""


jobs.add_command(ps, "ls")
for _command in (show, logs, stop, why):
    jobs.add_command(_command)
