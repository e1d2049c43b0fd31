"""Pure rules of nodes: names, limits on what a machine may say of itself, proof of possession."""

import base64
import binascii
import re
import unicodedata
from collections.abc import Set

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from gp4u_protocol.messages import NodeFacts, join_bytes

from gp4u_server.kit.errors import DomainError
from gp4u_server.nodes.errors import ProofInvalid

NAME_LENGTH_MAX = 63
DEVICES_MAX = 64
TEXT_LENGTH_MAX = 256
CPUS_MAX = 4096
MEMORY_MB_MAX = 64 * 1024 * 1024
DISK_MB_MAX = 4 * 1024 * 1024 * 1024
CPU_FLAGS_MAX = 1024
VRAM_MB_MAX = 1024 * 1024


class FactsInvalid(DomainError):
    """What the agent says of its machine is out of all bounds."""

    code = "facts_invalid"


def slug(name: str) -> str:
    """A URL-safe, human name from any text: lower case letters, digits and single hyphens, 1 to 63 characters."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    joined = re.sub(r"[^a-z0-9]+", "-", plain.split(".")[0]).strip("-")
    return joined[:NAME_LENGTH_MAX].rstrip("-") or "node"


def free_name(wanted: str, taken: Set[str]) -> str:
    """`wanted`, or `wanted-2`, `wanted-3`, … when it is taken."""
    if wanted not in taken:
        return wanted
    number = 2
    while True:
        suffix = f"-{number}"
        name = wanted[: NAME_LENGTH_MAX - len(suffix)].rstrip("-") + suffix
        if name not in taken:
            return name
        number += 1


def check_facts(facts: NodeFacts) -> None:
    """Raise FactsInvalid when a number or a text is beyond what any machine has."""
    texts = [
        facts.hostname,
        facts.os,
        facts.kernel,
        facts.cpu_model,
        *facts.runtimes,
        *facts.runtimes.values(),
    ]
    told = facts.transparent
    for said in (told, told and told.containers):
        if said is None:
            continue
        texts += [said.by, said.why_not, said.gpu_why_not, said.machine, said.kernel, said.criu, said.system]
        texts += [said.runtime, said.build, *said.cpu_flags]
        if len(said.cpu_flags) > CPU_FLAGS_MAX:
            raise FactsInvalid(f"A processor may have at most {CPU_FLAGS_MAX} features.")
    for device in facts.devices:
        texts += [device.uuid, device.model, device.driver]
        if not device.uuid or not device.model:
            raise FactsInvalid("Every GPU needs a UUID and a model.")
        if not 0 < device.vram_mb <= VRAM_MB_MAX:
            raise FactsInvalid(f"GPU {device.uuid[:64]} claims {device.vram_mb} MiB of memory.")
    if any(len(value) > TEXT_LENGTH_MAX or "\0" in value for value in texts):
        raise FactsInvalid(
            f"A text among the facts is longer than {TEXT_LENGTH_MAX} characters or holds a NUL."
        )
    if len(facts.devices) > DEVICES_MAX:
        raise FactsInvalid(f"A node may have at most {DEVICES_MAX} GPUs, this one says {len(facts.devices)}.")
    if len(facts.runtimes) > 16:
        raise FactsInvalid("A node may name at most 16 runtimes.")
    if len({device.uuid for device in facts.devices}) < len(facts.devices):
        raise FactsInvalid("Two GPUs of this node have the same UUID.")
    bounds = (
        ("cpus", facts.cpus, 1, CPUS_MAX),
        ("memory_mb", facts.memory_mb, 1, MEMORY_MB_MAX),
        ("disk_free_mb", facts.disk_free_mb, 0, DISK_MB_MAX),
    )
    for field, value, low, high in bounds:
        if not low <= value <= high:
            raise FactsInvalid(f"{field} is {value}; it must be between {low} and {high}.", field=field)


def proven_key(token: str, public_key: str, signature: str) -> bytes:
    """The raw key behind `public_key` (base64), once `signature` proves that the caller holds its private half.

    Raises ProofInvalid.
    """
    try:
        raw_key = base64.b64decode(public_key, validate=True)
        Ed25519PublicKey.from_public_bytes(raw_key).verify(
            base64.b64decode(signature, validate=True), join_bytes(token, public_key)
        )
    except (binascii.Error, ValueError, InvalidSignature) as error:
        raise ProofInvalid("The signature does not prove that you hold this key.") from error
    return raw_key
