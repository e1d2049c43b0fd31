"""Password rules and hashing."""

import asyncio
import threading
from collections.abc import Iterator

import pytest
from gp4u_server.accounts.errors import PasswordRefused, SignInBusy
from gp4u_server.accounts.passwords import THREADS, PasswordHasher, check_password, common_passwords
from pwdlib.hashers.argon2 import Argon2Hasher

EMAIL = "ada.lovelace@example.com"


@pytest.fixture
def hasher() -> Iterator[PasswordHasher]:
    made = PasswordHasher()
    yield made
    made.pool.shutdown()


@pytest.mark.parametrize(
    "password",
    ["", "short", "7 chars", "a" * 1025, "password", "PassWord1", "12345678", "qwertyuiop", "aaaaaaaaaaaa", "iloveyou",
     EMAIL, EMAIL.upper(), "ada.lovelace"],
)  # fmt: skip
def test_weak_passwords_are_refused_with_a_reason(password: str) -> None:
    with pytest.raises(PasswordRefused) as refused:
        check_password(password, email=EMAIL)
    assert refused.value.extra == {"field": "password"}
    assert refused.value.detail.endswith(".")


@pytest.mark.parametrize(
    "password", ["demo-gp4u", "8 chars!", "x" * 1023 + "y", "пароль-из-слов", "nul\0inside"]
)
def test_other_passwords_are_accepted_whatever_they_are_made_of(password: str) -> None:
    check_password(password, email=EMAIL)


def test_the_list_of_common_passwords_is_there_and_in_lower_case() -> None:
    listed = common_passwords()
    assert len(listed) > 300
    assert all(word == word.lower() and len(word) >= 8 for word in listed)


async def test_only_the_same_password_fits_to_its_last_character(hasher: PasswordHasher) -> None:
    long = "é\0" * 512
    encoded = await hasher.hash(long)
    assert encoded.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert await hasher.verify(long, encoded)
    for other in (long[:-1], long + "x", long.replace("\0", ""), long[:72], ""):
        assert not await hasher.verify(other, encoded)
    assert await hasher.hash(long) != encoded  # salted


async def test_nobody_fits_no_password(hasher: PasswordHasher) -> None:
    assert not await hasher.verify("anything", None)


async def test_a_hash_with_other_parameters_is_outdated_and_still_fits(hasher: PasswordHasher) -> None:
    old = Argon2Hasher(time_cost=1, memory_cost=8 * 1024, parallelism=1).hash("correct horse")
    assert hasher.is_outdated(old)
    assert await hasher.verify("correct horse", old)
    assert not hasher.is_outdated(await hasher.hash("correct horse"))


class _Watching(Argon2Hasher):
    """Counts how many hashes run at the same time."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=1024, parallelism=1)
        self.lock, self.running, self.most = threading.Lock(), 0, 0

    def hash(self, password: str | bytes, *, salt: bytes | None = None) -> str:
        with self.lock:
            self.running += 1
            self.most = max(self.most, self.running)
        try:
            return super().hash(password, salt=salt)
        finally:
            with self.lock:
                self.running -= 1


async def test_two_hundred_at_once_hold_the_memory_of_a_few() -> None:
    watching = _Watching()
    hasher = PasswordHasher(hasher=watching)
    await asyncio.gather(*(hasher.hash(f"password {number}") for number in range(200)))
    await hasher.aclose()
    assert 1 <= watching.most <= THREADS


async def test_an_endless_queue_is_refused_instead_of_grown() -> None:
    hasher = PasswordHasher(waiting=asyncio.Semaphore(2))
    answers = await asyncio.gather(*(hasher.hash("password x") for _ in range(6)), return_exceptions=True)
    await hasher.aclose()
    assert sum(isinstance(answer, SignInBusy) for answer in answers) == 4
