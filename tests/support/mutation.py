"""Damage as disks, transfers and ill will cause it: the same for the same seed."""

import random
from collections.abc import Callable

_INTERESTING = (b"\x00", b"\xff", b"\x7f\xff\xff\xff", b"\x80\x00\x00\x00", b"\xff\xff\xff\xff", b"\x00" * 8)


def mutated(content: bytes, seed: int) -> bytes:
    """The content, damaged in one to three ways."""
    chance = random.Random(seed)
    for _ in range(chance.randint(1, 3)):
        content = chance.choice(_WAYS)(content, chance)
    return content


def _flip_bits(content: bytes, chance: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(chance.choice((1, 4, 32)) if changed else 0):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _change_header(content: bytes, chance: random.Random) -> bytes:
    """Numbers that overflow, near the start, where sizes and counts are."""
    changed, value = bytearray(content), chance.choice(_INTERESTING)
    at = chance.randrange(min(len(content), 200) or 1)
    changed[at : at + len(value)] = value
    return bytes(changed)


def _cut_off(content: bytes, chance: random.Random) -> bytes:
    return content[: chance.randrange(len(content) or 1)]


def _cut_out(content: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(content) or 1)
    return content[:at] + content[at + chance.choice((1, 188, 4096)) :]


def _blank(content: bytes, chance: random.Random) -> bytes:
    at, length = chance.randrange(len(content) or 1), chance.choice((16, 512, 4096))
    return content[:at] + bytes(len(content[at : at + length])) + content[at + length :]


def _repeat(content: bytes, chance: random.Random) -> bytes:
    at, length = chance.randrange(len(content) or 1), chance.choice((16, 512, 4096))
    return content[: at + length] + content[at:]


_WAYS: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    _flip_bits,
    _change_header,
    _cut_off,
    _cut_out,
    _blank,
    _repeat,
)
