"""Saved states: may a device become this one?

A state is a value, and may come from a file that somebody has changed. A device believes nothing of it:
`fitting` holds each field against the type and the range that its class declares, and `require` is for what
depends on other fields or on the device. All of that comes before anything changes.
"""

from __future__ import annotations

from typing import Annotated, Final, TypeVar

import msgspec

BYTE_MOST: Final = 0xFF

Bit = Annotated[int, msgspec.Meta(ge=0, le=1)]
Byte = Annotated[int, msgspec.Meta(ge=0, le=BYTE_MOST)]
Word = Annotated[int, msgspec.Meta(ge=0, le=0xFFFF)]
DoubleWord = Annotated[int, msgspec.Meta(ge=0, le=0xFFFF_FFFF)]
Natural = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
"""A number of bytes, blocks or nanoseconds."""

AnyState = TypeVar("AnyState", bound=msgspec.Struct)


class StateError(ValueError):
    """A saved state does not fit the device that is to become it; nothing has changed."""


def fitting(name: str, state: AnyState) -> AnyState:
    """Return a state whose fields are all of their types and in their ranges, or raise StateError."""
    try:
        plain = msgspec.to_builtins(state, builtin_types=(bytes,))
        return msgspec.convert(plain, type(state), builtin_types=(bytes,))
    except (msgspec.ValidationError, TypeError, OverflowError) as error:
        raise StateError(f"{name}: the saved state is broken: {error}") from None


def require(true: bool, name: str, what: str) -> None:
    """Raise StateError unless something is true; `what` says what is wrong."""
    if not true:
        raise StateError(f"{name}: the saved state does not fit: {what}")
