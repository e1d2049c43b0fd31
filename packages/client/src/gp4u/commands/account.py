"""Who you are: login, logout, whoami, register, keys."""

import getpass
import sys

import click

from gp4u import config
from gp4u.api import ApiClient
from gp4u.config import Credentials
from gp4u.output import (
    USAGE,
    ago,
    client,
    confirm_or_fail,
    console,
    fail,
    interactive,
    json_option,
    print_json,
    table,
    translated,
)


def _ask_password(password: str | None, password_stdin: bool) -> str:
    if password_stdin:
        return sys.stdin.readline().rstrip("\n")
    if password is not None:
        return password
    if not interactive():
        fail("No terminal to ask for the password: pass --password-stdin, or use GP4U_API_KEY.", USAGE)
    return getpass.getpass("Password: ")


@click.command()
@click.argument("url", required=False)
@click.option("--email", help="Your e-mail address.")
@click.option("--password", help="The password; prefer --password-stdin, which other users cannot see.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@json_option
@translated
def login(
    url: str | None, email: str | None, password: str | None, password_stdin: bool, as_json: bool
) -> None:
    """Sign in to the marketplace at URL (default: the last one, or http://127.0.0.1:8000)."""
    target = (url or config.load().url).rstrip("/")
    if email is None:
        if not interactive():
            fail("Pass --email.", USAGE)
        email = click.prompt("E-mail")
    secret = _ask_password(password, password_stdin)
    with ApiClient(Credentials(url=target)) as api:
        tokens = api.post("/auth/token", {"email": email, "password": secret})
    config.save(
        Credentials(
            url=target,
            email=tokens["user"]["email"],
            access_token=tokens["access_token"],
            refresh_token=tokens["refresh_token"],
        )
    )
    if as_json:
        print_json({"url": target, "user": tokens["user"]})
    else:
        console.print(
            f"Signed in to {target} as {tokens['user']['email']} ({', '.join(tokens['user']['roles'])})."
        )


@click.command()
@translated
def logout() -> None:
    """Sign out: the session ends on the server and the stored tokens are deleted."""
    credentials = config.load()
    if credentials.refresh_token:
        with ApiClient(credentials) as api:
            api.post("/auth/token/revoke", {"refresh_token": credentials.refresh_token})
    config.forget()
    console.print("Signed out.")


@click.command()
@json_option
def whoami(as_json: bool) -> None:
    """Show who you are and where."""
    with client() as api:
        user = api.get("/auth/session")["user"]
        if as_json:
            print_json({"url": api.credentials.url, "user": user})
        else:
            console.print(f"{user['email']} ({', '.join(user['roles'])}) at {api.credentials.url}")


@click.command()
@click.argument("url", required=False)
@click.option("--email", required=True, help="Your e-mail address.")
@click.option("--name", default="", help="How others see you.")
@click.option("--owner", is_flag=True, help="You also want to offer GPUs.")
@click.option("--password", help="The password; prefer --password-stdin.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@translated
def register(
    url: str | None, email: str, name: str, owner: bool, password: str | None, password_stdin: bool
) -> None:
    """Create an account and sign in."""
    target = (url or config.load().url).rstrip("/")
    secret = _ask_password(password, password_stdin)
    roles = ["renter", "owner"] if owner else ["renter"]
    with ApiClient(Credentials(url=target)) as api:
        api.post("/auth/register", {"email": email, "password": secret, "name": name, "roles": roles})
        tokens = api.post("/auth/token", {"email": email, "password": secret})
    config.save(Credentials(target, email, tokens["access_token"], tokens["refresh_token"]))
    console.print(f"Welcome. You are signed in to {target} as {email}.")


@click.group()
def keys() -> None:
    """API keys: for programs that act for you."""


@keys.command("ls")
@json_option
def list_keys(as_json: bool) -> None:
    """List your keys."""
    with client() as api:
        items = list(api.pages("/api-keys"))
        if as_json:
            print_json(items)
            return
        table(
            ["KEY", "NAME", "SCOPES", "LAST USED", "STATE"],
            [
                [
                    key["prefix"] + "…",
                    key["name"],
                    ",".join(key["scopes"]),
                    ago(key["last_used_at"]),
                    "revoked" if key["revoked_at"] else "live",
                ]
                for key in items
            ],
            empty="No keys. Make one with `gp4u keys new NAME`.",
        )


@keys.command("new")
@click.argument("name")
@click.option(
    "--scope", "scopes", multiple=True, type=click.Choice(["read", "write", "admin"]), help="Repeatable."
)
@json_option
def new_key(name: str, scopes: tuple[str, ...], as_json: bool) -> None:
    """Make a key called NAME. It is shown this once."""
    with client() as api:
        key = api.post("/api-keys", {"name": name, "scopes": list(scopes) or ["read", "write"]})
        if as_json:
            print_json(key)
        else:
            console.print(key["key"])
            console.print("Keep it now: it is not shown again.", style="yellow")


@keys.command("revoke")
@click.argument("key")
@click.option("--yes", is_flag=True, help="Do not ask.")
def revoke_key(key: str, yes: bool) -> None:
    """Revoke a key, by its id or the beginning of the key."""
    with client() as api:
        matches = [
            item for item in api.pages("/api-keys") if item["id"] == key or key.startswith(item["prefix"])
        ]
        if not matches:
            fail(f"No key {key}. `gp4u keys ls` lists them.", 4)
        confirm_or_fail(f"Revoke {matches[0]['name']}?", assume_yes=yes)
        api.delete(f"/api-keys/{matches[0]['id']}")
        console.print(f"Revoked {matches[0]['name']}.")
