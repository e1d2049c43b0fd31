"""Every bound of the checkpoint format in one place."""

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

CHUNK_BYTES_MAX = 4 * MIB
PACK_BYTES_TARGET = 16 * MIB
PACK_BYTES_MAX = PACK_BYTES_TARGET + CHUNK_BYTES_MAX + KIB
MANIFEST_BYTES_MAX = 64 * MIB
MANIFEST_BODY_BYTES_MAX = 512 * MIB
ENTRIES_MAX = 200_000
PATH_BYTES_MAX = 1024
PACKS_MAX = 65_536
PACKS_A_CALL_MAX = 64
DATA_KEY_BYTES = 32


def block_bytes(file_bytes: int) -> int:
    """Length of a file's blocks: short ones find small changes, long ones keep the manifest of a huge file small."""
    if file_bytes <= GIB:
        return 256 * KIB
    if file_bytes <= 16 * GIB:
        return MIB
    return CHUNK_BYTES_MAX
