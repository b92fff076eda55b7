"""A guest's array under several techniques, each difference traced to the violation behind it."""

from __future__ import annotations

import io

import pytest
from msgspec.structs import replace

from vmm.cli.compare_run import chosen
from vmm.cli.compare_table import print_comparison
from vmm.config import FULL_TECHNIQUES
from vmm.errors import UsageError
from vmm.techniques.compare import Column, Line, Outcome, compare, read_array, slowdown
from vmm.techniques.exits import Finding
from vmm.trace.events import ExitCount

SGDT = Finding(0x1000, "sgdt [eax]", "SGDT", "showed the guest the monitor's GDTR")
PUSHF = Finding(0x2000, "pushfd", "PUSHF", "showed the guest the real IF and IOPL")
IRET = Finding(0x3000, "iretd", "RET", "returned without the guest's IF")
CS = Finding(0x4000, "mov ax, cs", "MOV", "showed the guest ring 1 in a selector")


def lines(*texts: str, findings: tuple[int, ...] = ()) -> tuple[Line, ...]:
    return tuple(Line(text, findings[n] if findings else 0) for n, text in enumerate(texts))


BARE = Outcome(
    technique="bare", ended="", wall_s=2.0, exits={"io.in": ExitCount(10, 5_000)},
    lines=lines("hello", "snare[000] SGDT stores = 1", "snare[001] PUSHF shows IF = 0", "snare[002] CR3 = 1"),
)  # fmt: skip


def trap(*values: int, findings: tuple[int, ...] = (0, 0, 0), **more: object) -> Outcome:
    names = ("SGDT stores", "PUSHF shows IF", "CR3")
    texts = [f"snare[{n:03d}] {names[n]} = {value}" for n, value in enumerate(values)]
    return Outcome(technique="trap", ended="", wall_s=5.0, lines=lines(*texts, findings=findings), **more)  # type: ignore[arg-type]


def column_of(outcome: Outcome) -> Column:
    return compare((BARE, outcome))[1]


def test_an_array_is_read_from_among_other_lines() -> None:
    assert [(e.index, e.name, e.value) for e in read_array(BARE.lines)] == [
        (0, "SGDT stores", "1"), (1, "PUSHF shows IF", "0"), (2, "CR3", "1"),
    ]  # fmt: skip


def test_an_entry_that_its_guest_did_not_expect_is_read_too() -> None:
    [entry] = read_array(lines("snare[007] MOV from CS = 9 <- 8 expected"))

    assert (entry.index, entry.value) == (7, "9")


def test_the_boot_programs_checks_are_an_array() -> None:
    found = read_array(lines("ok 1 - memory", "not ok 2 - #GP with its error code"))

    assert [(e.index, e.value) for e in found] == [(1, "ok"), (2, "not ok")]


def test_an_equal_array_has_no_differences() -> None:
    assert column_of(trap(1, 0, 1)).differences == ()


def test_a_difference_names_the_instruction_the_entry_is_about() -> None:
    outcome = replace(trap(0, 1, 1, findings=(2, 2, 2)), findings=(PUSHF, SGDT))
    first, second = column_of(outcome).differences

    assert (first.index, first.bare, first.got, first.instruction) == (0, "1", "0", "sgdt [eax]")
    assert first.reason == "SGDT at 00001000h showed the guest the monitor's GDTR"
    assert second.instruction == "pushfd"


def test_of_two_named_alike_the_one_of_the_entrys_own_time_counts() -> None:
    later = Finding(0x9999, "pushfd", "PUSHF", "showed the guest the real IF and IOPL")
    outcome = replace(trap(1, 1, 1, findings=(1, 2, 2)), findings=(PUSHF, later))

    assert column_of(outcome).differences[0].reason == later.text


def test_an_entry_about_no_named_instruction_goes_by_its_time() -> None:
    outcome = replace(trap(1, 0, 2, findings=(1, 1, 3)), findings=(PUSHF, CS, IRET))

    assert column_of(outcome).differences[0].instruction == "mov ax, cs"


def test_a_difference_without_any_violation_says_so() -> None:
    [difference] = column_of(trap(1, 0, 2)).differences

    assert difference.instruction is None
    assert difference.reason is None


def test_what_was_not_reached_says_why() -> None:
    [difference] = column_of(trap(1, 0, fault="triple fault")).differences

    assert difference.got is None
    assert difference.reason == "not reached: triple fault"


def test_the_facts_have_exactly_the_documented_keys() -> None:
    exits = {"emulate.cli": ExitCount(2, 6_000, 3924)}
    facts = column_of(replace(trap(0, 0, 1), exits=exits)).facts()

    assert facts.keys() == {"technique", "array", "differences", "exits", "wall_s"}
    assert facts["differences"][0].keys() == {"index", "name", "bare", "got", "instruction", "reason"}
    assert facts["exits"] == {"emulate.cli": {"count": 2, "host_us": 6.0, "cycles": 3924}}
    assert facts["wall_s"] == 5.0


def test_the_slowdown_is_in_units_of_bare_and_none_for_a_run_that_failed() -> None:
    bare, good, failed = compare((BARE, trap(1, 0, 1), trap(1, 0, fault="time-out")))

    assert slowdown(good, (bare, good)) == 2.5
    assert slowdown(failed, (bare, failed)) is None


def test_the_table_stars_what_differs_and_names_its_cause_below() -> None:
    outcome = replace(trap(0, 0, 1, findings=(1, 1, 1)), findings=(SGDT,))
    stream = io.StringIO()
    print_comparison(compare((BARE, outcome)), stream)
    text = stream.getvalue()

    assert "0 *" in text
    assert "PUSHF shows IF" not in text  # equal everywhere
    assert "sgdt [eax]: SGDT at 00001000h showed the guest the monitor's GDTR" in text
    assert "2.50x" in text
    assert "\x1b" not in text


def test_the_whole_table_shows_what_is_equal_too() -> None:
    stream = io.StringIO()
    print_comparison(compare((BARE, trap(1, 0, 1))), stream, whole=True)

    assert "PUSHF shows IF" in stream.getvalue()


def test_a_technique_that_stopped_is_shown_so() -> None:
    stream = io.StringIO()
    print_comparison(compare((BARE, trap(1, fault="triple fault"))), stream)

    assert "trap ended before its time: triple fault, 2 entries not reached" in stream.getvalue()


def test_techniques_are_chosen_by_full_name_or_by_its_beginning() -> None:
    assert chosen(()) == list(FULL_TECHNIQUES)
    assert chosen(("translation", "trap")) == ["bare", "translation-patch", "translation-cache", "trap"]
    assert chosen(("hardware-shadow",)) == ["bare", "hardware-shadow"]
    with pytest.raises(UsageError, match="expected one of bare, trap"):
        chosen(("magic",))
