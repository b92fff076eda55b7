"""Runs of equal bits in a sector bitmap that is kept as one integer.

The first sector is the most significant bit, as in VHD, so that the integer's big-endian bytes
are the bitmap on disk.
"""

from __future__ import annotations

from collections.abc import Iterator


def mask(total: int, first: int, length: int) -> int:
    """Return `length` ones from bit `first` of a bitmap of `total` bits."""
    return ((1 << length) - 1) << (total - first - length)


def span(bits: int, total: int, first: int, length: int) -> int:
    """Return `length` bits from bit `first` on as a bitmap of their own."""
    return bits >> (total - first - length) & ((1 << length) - 1)


def runs(bits: int, total: int, first: int, length: int) -> Iterator[tuple[int, int, bool]]:
    """Yield (first, length, is_set) for each run of equal bits inside the range, in order."""
    asked = span(bits, total, first, length)
    if asked == 0 or asked == (1 << length) - 1:
        yield first, length, asked != 0
        return
    text = format(asked, f"0{length}b")
    start = 0
    while start < length:
        end = text.find("0" if text[start] == "1" else "1", start)
        end = length if end < 0 else end
        yield first + start, end - start, text[start] == "1"
        start = end
