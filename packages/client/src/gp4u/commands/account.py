"""Who you are: login, logout, whoami, register, keys."""

import getpass
import sys

import click

from gp4u import config
from gp4u.api import ApiClient, ApiError
from gp4u.config import Credentials
from gp4u.output import (
    NOT_FOUND,
    USAGE,
    ago,
    client,
    confirm_or_fail,
    console,
    did_you_mean,
    errors,
    fail,
    interactive,
    json_option,
    print_json,
    table,
    translated,
)


def _ask_email(email: str | None) -> str:
    if email is not None:
        return email
    if not interactive():
        fail("Whose account? Pass --email.", USAGE)
    return str(click.prompt("E-mail"))


def _ask_password(password: str | None, password_stdin: bool, *, twice: bool = False) -> str:
    if password_stdin:
        return sys.stdin.readline().rstrip("\n")
    if password is not None:
        return password
    if not interactive():
        fail("No terminal to ask for the password: pass --password-stdin, or use GP4U_API_KEY.", USAGE)
    secret = getpass.getpass("Password: ")
    if twice and secret != getpass.getpass("Once more: "):
        fail("The two passwords differ.", USAGE)
    return secret


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
    email = _ask_email(email)
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
    # The stored tokens go first: whoever signs out on a train is signed out here, whatever the network does.
    config.forget()
    if credentials.refresh_token:
        try:
            with ApiClient(credentials) as api:
                api.post("/auth/token/revoke", {"refresh_token": credentials.refresh_token})
        except ApiError as error:
            errors.print(f"The server was not told, so the session ends there by itself: {error.detail}")
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
@click.option("--email", help="Your e-mail address.")
@click.option("--name", default="", help="How others see you.")
@click.option("--owner", is_flag=True, help="You also want to offer GPUs.")
@click.option("--password", help="The password; prefer --password-stdin.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@json_option
@translated
def register(
    url: str | None,
    email: str | None,
    name: str,
    owner: bool,
    password: str | None,
    password_stdin: bool,
    as_json: bool,
) -> None:
    """Create an account at the marketplace at URL (default: the last one) and sign in."""
    target = (url or config.load().url).rstrip("/")
    email = _ask_email(email)
    secret = _ask_password(password, password_stdin, twice=True)
    roles = ["renter", "owner"] if owner else ["renter"]
    with ApiClient(Credentials(url=target)) as api:
        api.post("/auth/register", {"email": email, "password": secret, "name": name, "roles": roles})
        tokens = api.post("/auth/token", {"email": email, "password": secret})
    config.save(Credentials(target, email, tokens["access_token"], tokens["refresh_token"]))
    if as_json:
        print_json({"url": target, "user": tokens["user"]})
    else:
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
@json_option
def revoke_key(key: str, yes: bool, as_json: bool) -> None:
    """Revoke KEY: its name, its id, or how it begins."""
    with client() as api:
        live = [item for item in api.pages("/api-keys") if not item["revoked_at"]]
        matches = [item for item in live if item["id"] == key or key.startswith(item["prefix"])]
        matches = matches or [item for item in live if item["name"] == key]
        if not matches:
            names = did_you_mean(key, (item["name"] for item in live))
            fail(f"You have no live key {key}.{names} `gp4u keys ls` lists them.", NOT_FOUND)
        if len(matches) > 1:
            fail(f"You have {len(matches)} keys called {key}. Name one by how it begins.", USAGE)
        confirm_or_fail(f"Revoke {matches[0]['name']}?", assume_yes=yes)
        api.delete(f"/api-keys/{matches[0]['id']}")
        if as_json:
            print_json({"revoked": matches[0]["id"], "name": matches[0]["name"]})
        else:
            console.print(f"Revoked {matches[0]['name']}.")


@click.group()
def sessions() -> None:
    """Sessions: where you are signed in."""


@sessions.command("ls")
@json_option
def list_sessions(as_json: bool) -> None:
    """List where you are signed in, newest first."""
    with client() as api:
        items = list(api.pages("/sessions"))
        if as_json:
            print_json(items)
            return
        table(
            ["SESSION", "DEVICE", "KIND", "SIGNED IN", "LAST USED", ""],
            [
                [
                    item["id"],
                    item["device"],
                    item["kind"],
                    ago(item["created_at"]),
                    ago(item["last_used_at"]),
                    "this one" if item["current"] else "",
                ]
                for item in items
            ],
            empty="You are signed in nowhere.",
            droppable=("KIND", "SIGNED IN"),
        )


@sessions.command("end")
@click.argument("session")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def end_session(session: str, yes: bool, as_json: bool) -> None:
    """Sign out where SESSION (its id) is."""
    with client() as api:
        found = next((item for item in api.pages("/sessions") if item["id"] == session), None)
        if found is None:
            fail(f"You have no session {session}. `gp4u sessions ls` lists them.", NOT_FOUND)
        confirm_or_fail(f"Sign out {found['device']}?", assume_yes=yes)
        api.delete(f"/sessions/{session}")
        if as_json:
            print_json({"ended": session, "device": found["device"]})
        else:
            console.print(f"Signed out {found['device']}.")
