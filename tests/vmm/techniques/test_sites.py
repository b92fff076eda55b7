"""The scanner finds what Robin and Irvine list, and tells what goes wrong at ring 1 without a fault."""

from __future__ import annotations

import pytest

from vmm.techniques.sites import find_sites

NOP = b"\x90"


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("0f 01 00", "SGDT"), ("0f 01 08", "SIDT"), ("0f 00 c0", "SLDT"), ("0f 00 c8", "STR"),
        ("0f 01 e0", "SMSW"), ("9c", "PUSHF"), ("9d", "POPF"), ("66 9c", "PUSHF"), ("0f 02 c1", "LAR"),
        ("0f 03 c1", "LSL"), ("0f 00 e0", "VERR"), ("0f 00 e8", "VERW"), ("8c c8", "MOV"), ("8c d0", "MOV"),
        ("0e", "PUSH"), ("16", "PUSH"), ("cf", "RET"), ("9a 00 00 00 00 08 00", "CALL"), ("ff 18", "CALL"),
    ],
)  # fmt: skip
def test_what_goes_wrong_at_ring_1_is_found_between_others(code: str, name: str) -> None:
    raw = bytes.fromhex(code)
    (site,) = find_sites(NOP + raw + NOP, 32)
    assert (site.offset, site.length, site.name) == (1, len(raw), name)
    assert site.goes_wrong


@pytest.mark.parametrize(
    "code", ["8c d8", "1e", "06", "0f a0", "1f", "8e d8", "8e d0", "cb", "cd 80", "ea 00 00 00 00 08 00"]
)
def test_what_ring_1_may_run_as_it_is(code: str) -> None:
    """Loads go by the shadow descriptors, or fault; a selector in DS, ES, FS or GS is the one loaded."""
    assert not any(site.goes_wrong for site in find_sites(bytes.fromhex(code), 32))


@pytest.mark.parametrize("code", ["90 90", "fa fb f4", "8b 03", "0f 01 38", "0f 20 c0", "e8 9c 9d cf 0e"])
def test_nothing_else_is(code: str) -> None:
    """Privileged instructions trap by themselves; bytes inside an instruction are none of their own."""
    assert find_sites(bytes.fromhex(code), 32) == ()


def test_nothing_is_guessed_behind_what_cannot_be_decoded() -> None:
    assert find_sites(b"\x0f\x04\x9c", 32) == ()
    assert find_sites(b"\xb8\x9c\x9c", 32) == ()  # cut off


def test_the_first_instruction_alone() -> None:
    assert find_sites(b"\x90\x9c", 32, first_only=True) == ()
    assert len(find_sites(b"\x9c\x9c", 32, first_only=True)) == 1
