"""Passwords: the rules, and Argon2id in a small pool of threads."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import TypeVar

from pwdlib.hashers.argon2 import Argon2Hasher

from gp4u_server.accounts.errors import PasswordRefused, SignInBusy

PASSWORD_CHARS_MIN = 8
PASSWORD_CHARS_MAX = 1024
MEMORY_KIB = 19 * 1024
ITERATIONS = 2
# Each running hash holds MEMORY_KIB, so this bounds the memory of any number of sign-ins at once.
THREADS = 4
WAITING_MAX = 1000

Result = TypeVar("Result")


@cache
def common_passwords() -> frozenset[str]:
    """The passwords of at least eight characters that an attacker tries first, in lower case."""
    text = resources.files("gp4u_server.accounts").joinpath("common_passwords.txt").read_text("utf-8")
    return frozenset(line for line in text.splitlines() if line and not line.startswith("#"))


def check_password(password: str, *, email: str) -> None:
    """Raise PasswordRefused with the reason unless the rules hold. No rule asks for kinds of characters."""
    if len(password) < PASSWORD_CHARS_MIN:
        raise PasswordRefused(f"Use at least {PASSWORD_CHARS_MIN} characters.", field="password")
    if len(password) > PASSWORD_CHARS_MAX:
        raise PasswordRefused(f"Use at most {PASSWORD_CHARS_MAX} characters.", field="password")
    lowered = password.casefold()
    if lowered in common_passwords() or len(set(lowered)) == 1:
        raise PasswordRefused(
            "This is one of the passwords that are tried first; choose another.", field="password"
        )
    if lowered in (email.casefold(), email.casefold().partition("@")[0]):
        raise PasswordRefused("The password must not be your address.", field="password")


def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="argon2")


@dataclass(frozen=True)
class PasswordHasher:
    """Argon2id with the parameters of OWASP's sheet (19 MiB, two passes), off the event loop."""

    hasher: Argon2Hasher = field(
        default_factory=lambda: Argon2Hasher(time_cost=ITERATIONS, memory_cost=MEMORY_KIB, parallelism=1)
    )
    pool: ThreadPoolExecutor = field(default_factory=_pool)
    waiting: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(WAITING_MAX))

    async def hash(self, password: str) -> str:
        """An encoded hash with its parameters and a fresh salt. Raises SignInBusy."""
        return await self._run(self.hasher.hash, password)

    async def verify(self, password: str, encoded: str | None) -> bool:
        """Whether `password` made `encoded`. None takes as long as a real one and is false. Raises SignInBusy."""
        fits = await self._run(self.hasher.verify, password, encoded or self._nobody())
        return fits and encoded is not None

    def is_outdated(self, encoded: str) -> bool:
        """Whether the hash was made with other parameters than today's."""
        return self.hasher.check_needs_rehash(encoded)

    async def aclose(self) -> None:
        """End the threads; hashes that run are finished, those that wait are dropped."""
        self.pool.shutdown(wait=False, cancel_futures=True)

    def _nobody(self) -> str:
        # A well-formed hash that no password makes, with today's parameters, so it costs the same.
        zeros = "A" * 22, "A" * 43
        return f"$argon2id$v=19$m={MEMORY_KIB},t={ITERATIONS},p=1${zeros[0]}${zeros[1]}"

    async def _run(self, function: Callable[..., Result], *arguments: str) -> Result:
        if self.waiting.locked():
            raise SignInBusy("Too many people are signing in at this moment; try again in a few seconds.")
        async with self.waiting:
            return await asyncio.get_running_loop().run_in_executor(self.pool, function, *arguments)
