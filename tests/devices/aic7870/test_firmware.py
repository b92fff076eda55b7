"""The firmware out of Debian's driver is what the driver's loader makes of it for an AIC-7870."""

from __future__ import annotations

import hashlib
import struct

import pytest

from tests.devices.aic7870.firmware import firmware

pytestmark = pytest.mark.oracle


@pytest.mark.parametrize(
    ("wide", "length", "digest"),
    [
        (False, 413, "8aac008858b428e12452f9e3f59cc58d76b193ce416389fab4dbf00cb0ddd913"),
        (True, 420, "78c0dcbbed921652deadcbe3f22c39e1bf1de3ae0423bffae93174cdfb41daa5"),
    ],
    ids=["narrow", "wide"],
)
def test_the_words_are_those_that_linux_downloads(wide: bool, length: int, digest: str) -> None:
    """The digests are of words that were made from the kernel's source, aic7xxx_seq.h_shipped."""
    words = firmware(wide).words
    assert len(words) == length
    assert hashlib.sha256(struct.pack(f"<{length}I", *words)).hexdigest() == digest


def test_critical_sections_move_with_the_instructions() -> None:
    assert firmware().critical == [
        range(7, 12), range(15, 21), range(302, 318), range(395, 398), range(398, 404), range(406, 408),
        range(408, 410),
    ]  # fmt: skip
