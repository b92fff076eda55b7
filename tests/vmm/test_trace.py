"""Events as text, JSON lines and tables; the catalogue of reasons; filters; the instruction recorder."""

from __future__ import annotations

import io
import json

import pytest

from devices.backplane import TraceEvent
from vmm.errors import ConfigError
from vmm.trace.disassembly import address_text, decode
from vmm.trace.events import Exit, ExitCount, ExitFilter, FilteredTracer, Instruction, Mode, Violation
from vmm.trace.explain import explain
from vmm.trace.instructions import InstructionFilter, InstructionRecorder, parse_range
from vmm.trace.jsonl import JsonTrace
from vmm.trace.reasons import CATALOGUE, find_reason
from vmm.trace.table import exit_rows, print_exits
from vmm.trace.text import TextTrace, exit_line, instruction_line, time_text

OUT = Exit(
    time_ns=1_234_567,
    cs=0xF000,
    ip=0xE05B,
    cpl=0,
    mode="real",
    reason="io.out",
    detail="port 70h took 8fh",
    code=bytes.fromhex("e670eb00"),
    host_ns=950,
)
NOP = Instruction(time_ns=5, cs=8, ip=0x100000, cpl=0, mode="prot32", code=b"\x90\x90")


class Sink:
    def __init__(self) -> None:
        self.events: list[TraceEvent] = []

    def emit(self, event: TraceEvent) -> None:
        self.events.append(event)


def test_an_exit_line_holds_time_place_instruction_reason_and_deed() -> None:
    assert exit_line(OUT).split() == [
        "0.001234567", "f000:e05b", "out", "0x70,", "al", "io.out", "port", "70h", "took", "8fh",
    ]  # fmt: skip


def test_an_exit_without_an_instruction_shows_a_dash() -> None:
    event = Exit(time_ns=0, cs=0, ip=0, cpl=0, mode="real", reason="interrupt", detail="vector 08h")

    assert exit_line(event).split() == ["0.000000000", "0000:0000", "-", "interrupt", "vector", "08h"]


def test_lines_of_one_mode_are_aligned() -> None:
    other = Exit(time_ns=0, cs=8, ip=0xF, cpl=0, mode="real", reason="hlt", detail="x", code=b"\xf4")

    assert exit_line(OUT).index("io.out") == exit_line(other).rindex("hlt")


def test_explanations_follow_their_exit() -> None:
    stream = io.StringIO()
    TextTrace(stream, explanations=True).emit(OUT)
    _, why, kind, techniques = stream.getvalue().splitlines()

    assert "only the monitor has the device" in why
    assert "privileged" in kind
    assert "trap: allowed by the virtual IOPL" in techniques
    assert "VT-x: exit reason 30; AMD-V: exit code 0x7b" in why


def test_an_instruction_line_shows_bytes_text_and_changes() -> None:
    event = Instruction(
        time_ns=0, cs=0, ip=0x7C00, cpl=0, mode="real", code=b"\xb8\x34\x12\xcc", changed={"eax": 0x1234}
    )

    assert instruction_line(event).split() == [
        "0.000000000",
        "0000:7c00",
        "0",
        "b8",
        "34",
        "12",
        "mov",
        "ax,",
        "0x1234",
        "eax=1234",
    ]


@pytest.mark.parametrize(
    ("mode", "text"),
    [
        ("real", "0008:1234"),
        ("vm86", "0008:1234"),
        ("prot32", "0008:00001234"),
        ("long", "0008:0000000000001234"),
    ],
)
def test_addresses_have_the_digits_of_their_mode(mode: Mode, text: str) -> None:
    assert address_text(8, 0x1234, mode) == text


def test_code_is_read_as_its_mode_says() -> None:
    assert decode(b"\x48\x89\xe5", 0, "long").text == "mov rbp, rsp"
    assert decode(b"\x48\x89\xe5", 0, "prot32") == (b"\x48", "dec eax")
    assert decode(b"\xeb\xfe", 0x7C00, "real").text == "jmp 0x7c00"


def test_what_is_no_instruction_is_shown_as_bad() -> None:
    assert decode(b"\xff\xff\xff", 0, "prot32").text == "(bad)"


def test_time_keeps_all_nine_decimals() -> None:
    assert time_text(61_000_000_001).strip() == "61.000000001"


def test_a_json_line_is_the_event_with_its_instruction() -> None:
    stream = io.StringIO()
    JsonTrace(stream).emit(OUT)

    assert json.loads(stream.getvalue()) == {
        "event": "exit",
        "time_ns": 1_234_567,
        "cs": 0xF000,
        "ip": 0xE05B,
        "cpl": 0,
        "mode": "real",
        "reason": "io.out",
        "detail": "port 70h took 8fh",
        "code": "e670",
        "host_ns": 950,
        "instruction": "out 0x70, al",
    }


def test_json_lines_leave_out_host_times_where_a_run_must_repeat() -> None:
    stream = io.StringIO()
    JsonTrace(stream, host_times=False).emit(OUT)

    assert "host_ns" not in json.loads(stream.getvalue())


def test_every_reason_has_a_title_and_a_sentence() -> None:
    for key, reason in CATALOGUE.items():
        assert reason.key == key
        assert reason.title
        assert reason.why.endswith(".")
        assert "  " not in reason.why


@pytest.mark.parametrize(
    ("key", "vtx", "amd_v"),
    [
        ("io.in", 30, 0x7B),
        ("exception.pf", 0, 0x4E),
        ("exception.gp", 0, 0x4D),
        ("intercept.cr-write", 28, 0x10),
        ("intercept.cr3-write", 28, 0x13),
        ("intercept.cr2-write", None, 0x12),
        ("emulate.mov-to-cr3", 28, 0x13),
        ("emulate.cli", None, None),
        ("patched.pushf", None, 0x70),
        ("reflect.pf", 0, 0x4E),
        ("vmexit.cr0-write", 28, 0x10),
        ("vmexit.npf", 48, 0x400),
        ("vmexit.interrupt-window", 7, 0x64),
        ("hypercall.sched_op", 18, 0x81),
        ("intercept.dr7-read", 29, 0x27),
        ("intercept.ltr", 47, 0x6D),
        ("intercept.sgdt", 46, 0x67),
        ("intercept.msr-read", 31, 0x7C),
        ("hlt", 12, 0x78),
        ("cpuid", 10, 0x72),
        ("rdtsc", 16, 0x6E),
        ("triple-fault", 2, 0x7F),
        ("syscall", None, None),
    ],
)
def test_numbers_are_those_of_the_hardware_manuals(key: str, vtx: int | None, amd_v: int | None) -> None:
    reason = find_reason(key)

    assert (reason.vtx, reason.amd_v) == (vtx, amd_v)


def test_an_unknown_reason_is_shown_as_it_stands() -> None:
    event = Exit(time_ns=0, cs=0, ip=0, cpl=0, mode="real", reason="something.new")

    assert find_reason("something.new").title == "something.new"
    assert explain(event)


def test_every_reason_the_machine_can_give_is_in_the_catalogue() -> None:
    from vmm.cpu.engine import Kind
    from vmm.cpu.intercepts import EXIT_CODES
    from vmm.cpu.registers import EXCEPTION_NAMES, NMI
    from vmm.exits import reason_of

    plain = {reason_of(kind, 0) for kind in Kind if kind not in (Kind.EXCEPTION, Kind.INTERCEPT)}
    exceptions = {reason_of(Kind.EXCEPTION, vector) for vector in EXCEPTION_NAMES if vector != NMI}
    intercepts = {reason_of(Kind.INTERCEPT, 0x100 + code) for code in EXIT_CODES.values()}

    assert plain | exceptions | intercepts <= CATALOGUE.keys()


def test_the_table_is_sorted_by_count_and_its_shares_add_up() -> None:
    rows = exit_rows({"hlt": ExitCount(1, 500), "io.in": ExitCount(3, 2000), "nmi": ExitCount(0, 0)})

    assert [(row["reason"], row["count"], row["share"], row["host_us"]) for row in rows] == [
        ("io.in", 3, 0.75, 2.0),
        ("hlt", 1, 0.25, 0.5),
    ]


def test_the_printed_table_has_a_row_a_reason_and_a_total() -> None:
    stream = io.StringIO()
    print_exits({"io.in": ExitCount(3, 6_000_000), "hlt": ExitCount(1, 2_000_000)}, stream, width=100)
    text = stream.getvalue()

    assert "port read" in text
    assert "75.0 %" in text
    assert "6,000" in text
    assert "8,000" in text
    assert "\x1b" not in text


def test_modelled_cycles_are_a_column_where_a_technique_counts_them() -> None:
    stream = io.StringIO()
    print_exits({"emulate.cli": ExitCount(2, 6_000, 3924), "io.in": ExitCount(1, 1_000)}, stream, width=100)
    head, *_ = stream.getvalue().strip().splitlines()

    assert head.split()[-1] == "cycles"
    assert "3,924" in stream.getvalue()


def test_the_bare_machine_has_no_column_of_cycles() -> None:
    stream = io.StringIO()
    print_exits({"io.in": ExitCount(1, 1_000)}, stream, width=100)

    assert "cycles" not in stream.getvalue()


def test_titles_are_whole_in_a_narrow_terminal_and_columns_give_way() -> None:
    stream = io.StringIO()
    exits = {"vmexit.interrupt-window": ExitCount(12_345, 1_234_567_890, 380_317_000)}
    print_exits(exits, stream, width=80)
    text = stream.getvalue()
    assert "…" not in text
    assert "each" not in text.splitlines()[1]
    assert all(word in text for word in ("interrupt window", "(VM exit)", "380,317,000"))


@pytest.mark.parametrize("width", [40, 50, 60, 70])
def test_titles_keep_whole_words_when_the_terminal_is_narrower_still(width: int) -> None:
    stream = io.StringIO()
    exits = {"vmexit.interrupt-window": ExitCount(12_345, 1_234_567_890, 380_317_000)}
    print_exits(exits, stream, width=width)
    text = stream.getvalue()
    assert "…" not in text
    assert all(word in text for word in ("vmexit.interrupt-window", "12,345"))
    assert width == 40 or all(word in text.split() for word in ("interrupt", "window", "exit)"))


def test_a_violation_is_a_line_and_a_json_line_and_no_filter_stops_it() -> None:
    event = Violation(
        time_ns=5, linear=0x7C12, instruction="pushf", name="PUSHF", text="PUSHF at 00007c12h showed it"
    )
    text, lines = io.StringIO(), io.StringIO()
    FilteredTracer(TextTrace(text), ExitFilter(reasons=("io.",), limit=0)).emit(event)
    JsonTrace(lines).emit(event)
    assert text.getvalue().split() == [
        "0.000000005", "00007c12", "pushf", "violation", "PUSHF", "at", "00007c12h", "showed", "it",
    ]  # fmt: skip
    assert json.loads(lines.getvalue())["event"] == "violation"
    assert json.loads(lines.getvalue())["linear"] == 0x7C12


def test_an_empty_table_is_printed_too() -> None:
    stream = io.StringIO()
    print_exits({}, stream, width=80)

    assert "0 reasons" in stream.getvalue()


def test_filters_select_exits_by_reason_ring_and_number() -> None:
    sink = Sink()
    tracer = FilteredTracer(sink, ExitFilter(reasons=("io.",), cpl=frozenset({0}), limit=2))
    user = Exit(time_ns=0, cs=0, ip=0, cpl=3, mode="prot32", reason="io.in")
    halt = Exit(time_ns=0, cs=0, ip=0, cpl=0, mode="real", reason="hlt")
    for event in (user, OUT, halt, OUT, OUT):
        tracer.emit(event)

    assert sink.events == [OUT, OUT]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0x7c00-0x7dff", (0x7C00, 0x7DFF)), ("0x7c00+512", (0x7C00, 0x7DFF)), ("4096", (4096, 4096))],
)
def test_ranges_include_both_ends(text: str, expected: tuple[int, int]) -> None:
    assert parse_range(text) == expected


@pytest.mark.parametrize("text", ["", "a-b", "2-1", "1+0", "-5", "0x", "1-2-3"])
def test_wrong_ranges_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="address range"):
        parse_range(text)


def test_the_recorder_tells_what_each_instruction_changed() -> None:
    sink = Sink()
    recorder = InstructionRecorder(sink, InstructionFilter())
    recorder.step(0x100000, NOP, {"eax": 1, "eip": 0})
    recorder.step(0x100001, NOP, {"eax": 2, "eip": 1})
    recorder.finish({"eax": 2, "ebx": 9, "eip": 2})

    assert [event.changed for event in sink.events if isinstance(event, Instruction)] == [
        {"eax": 2},
        {"ebx": 9},
    ]


def test_the_recorder_follows_its_filter_and_stops_at_its_limit() -> None:
    sink = Sink()
    recorder = InstructionRecorder(sink, InstructionFilter(((10, 20),), frozenset({0}), limit=1))
    for linear in (9, 10, 11):
        recorder.step(linear, NOP, {})

    assert len(sink.events) == 1
    assert recorder.finished
