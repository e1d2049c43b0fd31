"""`gp4u run`: from a job file or a command line to a running job."""

import os
import shlex
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click
from gp4u_protocol.job_file import JobFile, JobFileInvalid, mistakes_in, read_job_file
from gp4u_protocol.job_spec import JobSpec
from gp4u_protocol.promise import promise_of
from pydantic import ValidationError
from rich.status import Status

from gp4u.commands.jobs import exit_for, promise_lines, watch
from gp4u.following import follow
from gp4u.output import (
    USAGE,
    client,
    console,
    did_you_mean,
    errors,
    fail,
    json_option,
    money,
    parse_money,
    print_json,
)
from gp4u.packing import FolderTooLarge, pack
from gp4u.submission import send, submit


@click.command(context_settings={"ignore_unknown_options": False, "allow_interspersed_args": False})
@click.argument("file_or_command", nargs=-1)
@click.option("--name", help="Name of the job.")
@click.option("--gpus", type=click.IntRange(1, 16), help="GPUs, all in one node.")
@click.option("--vram", type=click.IntRange(1), help="Least memory of each GPU, GiB.")
@click.option("--gpu-model", "gpu_models", multiple=True, help="Acceptable model; repeatable.")
@click.option("--region", "regions", multiple=True, help="Acceptable region; repeatable.")
@click.option(
    "--files", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Folder to send."
)
@click.option("--env", "environment", multiple=True, metavar="NAME=VALUE", help="Environment; repeatable.")
@click.option("--max-per-hour", help="Never place it above this rate, for example 0.80.")
@click.option("--max-total", help="Stop gracefully at this cost.")
@click.option("--no-protection", is_flag=True, help="Do not move the job when its node dies.")
@click.option("--hot", is_flag=True, help="Keep a second node ready to take over, for a small rate on top.")
@click.option("--offer", help="Run on this offer instead of letting the router choose.")
@click.option(
    "--from", "start_from", metavar="CHECKPOINT", help="Begin with a checkpoint of another job of yours."
)
@click.option("-d", "--detach", is_flag=True, help="Return once the job is accepted.")
@click.option("--dry-run", is_flag=True, help="Check the job and print what would be sent.")
@json_option
def run(
    file_or_command: tuple[str, ...],
    name: str | None,
    gpus: int | None,
    vram: int | None,
    gpu_models: tuple[str, ...],
    regions: tuple[str, ...],
    files: Path | None,
    environment: tuple[str, ...],
    max_per_hour: str | None,
    max_total: str | None,
    no_protection: bool,
    hot: bool,
    offer: str | None,
    start_from: str | None,
    detach: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Run a job and follow it.

    \b
      gp4u run job.yaml                        a job file
      gp4u run                                 ./job.yaml or ./gp4u.yaml
      gp4u run --files . -- python train.py    this folder, and a command in it

    \b
    A job file needs only `command`:
      command: python train.py
      files: .                                 # folder to send
      resources: {gpus: 1, vram_gb: ">=24", gpu_model: [RTX_4090]}
      checkpoint: {path: ckpt, every: 60s}     # what survives the node
      budget: {per_hour: 0.80, total: 5.00}

    Options win over the file and stand before it. Ctrl-C leaves the job running. Exit code 1 when the job failed.
    """
    job_file = _read(file_or_command, sends_folder=files is not None)
    changes: dict[str, Any] = {}
    resources = {
        key: value
        for key, value in {
            "gpus": gpus,
            "vram_gb_min": vram,
            "gpu_models": list(gpu_models) or None,
            "regions": list(regions) or None,
        }.items()
        if value is not None
    }
    if name:
        changes["name"] = name
    if start_from:
        changes["start_from"] = start_from
    if environment:
        changes["environment"] = {**job_file.spec.environment, **dict(_pair(item) for item in environment)}
    if hot and no_protection:
        raise click.UsageError("--hot and --no-protection say opposite things.")
    if hot:
        changes["protection"] = "hot"
    if no_protection:
        changes["protection"] = "none"
    document = job_file.spec.model_dump(mode="json")
    document.update(changes)
    document["resources"].update(resources)
    if max_per_hour:
        document["budget"]["per_hour_micros_max"] = parse_money(max_per_hour, "--max-per-hour")
    if max_total:
        document["budget"]["total_micros_max"] = parse_money(max_total, "--max-total")
    try:
        spec = JobSpec.model_validate(document)
    except ValidationError as error:
        fail("This cannot be a job:\n" + "\n".join(f"  {mistake}" for mistake in mistakes_in(error)), USAGE)
    folder = files or job_file.files

    if dry_run:
        packed = pack(folder) if folder else None
        print_json(
            {
                "spec": spec.model_dump(mode="json"),
                "folder": str(folder) if folder else None,
                "files": packed.files if packed else 0,
                "packed_bytes": len(packed.content) if packed else 0,
                "promise": promise_of(spec).model_dump(mode="json"),
            }
        )
        return

    quiet = as_json or not sys.stderr.isatty()
    with client() as api:
        upload_id: str | None = None
        if folder:
            with Status("Packing the folder…", console=errors) if not quiet else nullcontext():
                try:
                    packed = pack(folder)
                except FolderTooLarge as error:
                    fail(str(error), USAGE)
            with Status(f"Sending {packed.files} files…", console=errors) if not quiet else nullcontext():
                upload_id = send(api, packed)
        if upload_id:
            spec = spec.model_copy(update={"upload_id": upload_id})
        job = submit(api, spec, offer_id=offer)
        if as_json:
            if not detach:
                for _ in follow(api, job["id"]):
                    pass
                job = api.get(f"/jobs/{job['id']}")
            print_json(job)
        elif detach:
            console.print(job["id"])
            for line in promise_lines(job):
                errors.print(line, style="dim")  # beside the id, which programs read
        else:
            console.print(f"{job['name']}  {job['id']}", style="bold")
            for line in promise_lines(job):
                console.print(line, style="dim")
            job = watch(api, job["id"])
            console.print(
                f"{job['state']}: charged {money(job['charged_micros'])}, given back {money(job['refunded_micros'])}"
            )
        exit_for(job)


def _read(arguments: tuple[str, ...], *, sends_folder: bool) -> JobFile:
    try:
        if not arguments:
            for candidate in (Path("job.yaml"), Path("gp4u.yaml")):
                if candidate.is_file():
                    return read_job_file(candidate)
            fail("Say what to run: a job file, or `-- COMMAND …`. `gp4u run --help` has examples.", USAGE)
        if arguments[0].endswith((".yaml", ".yml")):
            return _read_file(arguments)
    except JobFileInvalid as error:
        fail("The job file is not valid:\n" + "\n".join(f"  {mistake}" for mistake in error.mistakes), USAGE)
    if not sends_folder:
        _check_that_nothing_is_left_behind(arguments)
    command = arguments[0] if len(arguments) == 1 else shlex.join(arguments)
    return JobFile(JobSpec(command=command), None)


def _read_file(arguments: tuple[str, ...]) -> JobFile:
    path = Path(arguments[0])
    if len(arguments) > 1:
        fail(f"Options stand before the job file: gp4u run {shlex.join([*arguments[1:], str(path)])}", USAGE)
    if not path.exists():
        here = sorted(str(other) for ending in ("*.yaml", "*.yml") for other in path.parent.glob(ending))
        fail(f"There is no job file {path}.{did_you_mean(str(path), here)}", USAGE)
    return read_job_file(path)


def _check_that_nothing_is_left_behind(arguments: tuple[str, ...]) -> None:
    """A command that names a file of this folder, which is not sent, is what most people try first."""
    named = [word for word in arguments if Path(word).is_file() and not Path(word).is_absolute()]
    if not named:
        return
    if len(arguments) == 1 and not os.access(named[0], os.X_OK):
        runner = "python " if named[0].endswith(".py") else ""
        fail(
            f"{named[0]} is a file here, and no command. To send this folder and run it: "
            f"gp4u run --files . -- {runner}{named[0]}\nJob files end in .yaml.",
            USAGE,
        )
    errors.print(f"Note: {named[0]} is not sent. `--files .` sends this folder with the job.", style="yellow")


def _pair(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise click.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="--env")
    return name, value
