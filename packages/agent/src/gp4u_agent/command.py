"""Adds `gp4u agent` to the command, and is the script `gp4u-agent`. Light: nothing is imported before it runs."""

import sys

COMMANDS = {"agent": ("gp4u_agent.cli:agent", "Offer this machine's GPUs and run jobs")}


def main() -> None:
    """Entry point of `gp4u-agent`."""
    import click  # noqa: PLC0415 - `gp4u --help` loads this module and needs none of it

    from gp4u_agent.cli import agent  # noqa: PLC0415

    try:
        sys.exit(agent.main(prog_name="gp4u-agent", standalone_mode=False))
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        sys.exit(130)
