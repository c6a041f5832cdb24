"""Bytes that change, such as on a bad disk or where a copy was broken off."""

from __future__ import annotations

import random


def flip(content: bytearray, draw: random.Random) -> None:
    """Changes single bits."""
    for _ in range(draw.choice((1, 1, 8, 64))):
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)


def cut(content: bytearray, draw: random.Random) -> None:
    """Loses the end."""
    del content[draw.randrange(1, len(content)) :]  # one of no bytes is a new store


def zeros(content: bytearray, draw: random.Random) -> None:
    """Has zeros in the place of a part."""
    first = draw.randrange(len(content))
    last = min(len(content), first + draw.choice((1, 16, 512, 4096)))
    content[first:last] = bytes(last - first)


def lose(content: bytearray, draw: random.Random) -> None:
    """Loses a part."""
    first = draw.randrange(len(content))
    del content[first : first + draw.choice((1, 16, 512))]


def repeat(content: bytearray, draw: random.Random) -> None:
    """Has a part twice."""
    first = draw.randrange(len(content))
    content[first:first] = content[first : first + draw.choice((1, 16, 512))]


def foreign(content: bytearray, draw: random.Random) -> None:
    """Holds something else."""
    others = (
        b"\0" * 100,
        b"text",
        b"{}",
        b"[" * 100_000,
        b"PK\x03\x04",
        b"SQLite format 3\0",
        draw.randbytes(5000),
    )
    content[:] = draw.choice(others)


DAMAGES = (flip, flip, cut, zeros, lose, repeat, foreign)
