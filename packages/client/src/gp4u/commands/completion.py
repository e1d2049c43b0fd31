"""`gp4u completion`: what a shell reads to complete our commands with the tab key."""

import click
from click.shell_completion import get_completion_class

from gp4u.cli import gp4u

SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print the script that completes commands and options in SHELL.

    \b
      bash   eval "$(gp4u completion bash)"             in ~/.bashrc
      zsh    eval "$(gp4u completion zsh)"              in ~/.zshrc
      fish   gp4u completion fish > ~/.config/fish/completions/gp4u.fish
    """
    shell_class = get_completion_class(shell)
    assert shell_class is not None
    click.echo(shell_class(gp4u, {}, "gp4u", "_GP4U_COMPLETE").source())
