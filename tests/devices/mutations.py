"""Saved states that somebody has changed: any field of one, at any depth, to anything."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import msgspec

Path = tuple[str | int, ...]

NUMBERS = (
    -(1 << 63), -5, -1, 0, 1, 2, 3, 4, 5, 7, 8, 15, 16, 31, 64, 127, 255, 256, 511, 512, 0xFFFF, 0x1_0000,
    0x7FFF_FFFF, 0xFFFF_FFFF, 1 << 32, (1 << 63) - 1, 1 << 63, 1 << 64, 1 << 80,
)  # fmt: skip
OF_ANOTHER_TYPE = (None, "text", 1.5, (), {}, -1, b"", True)
FEW = 4  # entries of a long tuple that are looked at one by one


def mutated(state: Any, chance: random.Random) -> Any:  # noqa: ANN401 - any state
    """Return `state` with something in it changed, or several things."""
    for _ in range(chance.choice((1, 1, 2, 4))):
        state = with_change(state, chance.choice(list(_places(state, ()))), partial(_changed, chance))
    return state


def _places(value: Any, path: Path) -> Iterator[Path]:  # noqa: ANN401
    """Yield where something can be changed: every field, entry and container."""
    if path:
        yield path
    if isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from _places(getattr(value, name), (*path, name))
    elif isinstance(value, tuple):
        for index in range(min(len(value), FEW)):
            yield from _places(value[index], (*path, index))
    elif isinstance(value, dict):
        for key in value:
            yield from _places(value[key], (*path, key))


def with_change(value: Any, path: Path, change: Callable[[Any], Any]) -> Any:  # noqa: ANN401
    """Return a state with another value at a place: names of fields, numbers of entries, keys."""
    if not path:
        return change(value)
    first, rest = path[0], path[1:]
    if isinstance(value, msgspec.Struct):
        name = str(first)
        return msgspec.structs.replace(value, **{name: with_change(getattr(value, name), rest, change)})
    if isinstance(value, dict):
        return {**value, first: with_change(value[first], rest, change)}
    entries = list(value)
    entries[int(first)] = with_change(entries[int(first)], rest, change)
    return type(value)(*entries) if hasattr(value, "_fields") else tuple(entries)


def _changed(chance: random.Random, value: Any) -> Any:  # noqa: ANN401 - a line for each type
    if chance.random() < 0.1:
        return chance.choice(OF_ANOTHER_TYPE)
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        near = (value + 1, value - 1, value ^ 1 << chance.randrange(34), -value, chance.getrandbits(8))
        return chance.choice((*NUMBERS, *near))
    if isinstance(value, bytes):
        return _changed_bytes(value, chance)
    if isinstance(value, dict):
        kept = dict(list(value.items())[chance.randrange(2) :])
        return kept | {chance.choice(NUMBERS): entry for entry in list(value.values())[:1]}
    if isinstance(value, tuple):
        return value[:-1] if chance.random() < 0.4 else value * chance.choice((2, 3, 100))
    if isinstance(value, str):
        return chance.choice(("", "read", "write", "compare", "parameters", "reply", value + "x"))
    return chance.choice((0, 1, -1, b"", (0, 0), (0x20, 5), 1 << 40))


def _changed_bytes(value: bytes, chance: random.Random) -> bytes:
    how = chance.randrange(4)
    if how == 0:
        return value[: chance.randrange(len(value) + 1)]
    if how == 1:
        return value + bytes(chance.choice((1, 6, 10, 512, 0x1_0000)))
    if how == 2:
        return chance.randbytes(chance.choice((0, 1, 5, 6, 10, 16, 256)))
    at = chance.randrange(len(value) + 1)
    return value[:at] + chance.randbytes(1) + value[at + 1 :]
