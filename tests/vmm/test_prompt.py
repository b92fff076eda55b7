"""The monitor's prompt: its keys, its commands, and what a pause does to the guest's time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmm.cli.line_editor import LineEditor
from vmm.cli.monitor import MachineMonitor
from vmm.cli.prompt import MORE, SIGN, Prompt
from vmm.clock import HostTime, host_ns
from vmm.config import DriveConfig, MachineConfig
from vmm.display.keys import KeyDecoder, Token
from vmm.machine import Machine

SPIN = bytes.fromhex("eb fe").ljust(510, b"\0") + b"\x55\xaa"


class Screen:
    """A view that remembers."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.line, self.cursor, self.open = "", 0, False
        self.messages: list[str] = []
        self.rows = 0

    def page_rows(self) -> int:
        return self.rows

    def say(self, lines: Sequence[str]) -> None:
        self.said = list(lines)

    def edit(self, text: str, cursor: int) -> None:
        self.line, self.cursor, self.open = text, cursor, True

    def close_prompt(self, message: str) -> None:
        self.open = False
        self.messages.append(message)


class Rig:
    """A machine that was never run, a prompt about it, and what was typed past the prompt."""

    def __init__(self, machine: Machine, picture: Path) -> None:
        self.machine, self.screen = machine, Screen()
        self.quit = False
        self.typed: list[Token] = []
        self.monitor = MachineMonitor(machine, self._end, str(picture))
        self.prompt = Prompt(self.monitor, self.screen, self.typed.append)

    def _end(self) -> None:
        self.quit = True

    def type(self, text: str) -> None:
        decoder = KeyDecoder()
        for token in (*decoder.feed(text.encode()), *decoder.flush()):
            self.prompt.take(token)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    disk = tmp_path / "disk.img"
    disk.write_bytes(SPIN.ljust(64 * 512, b"\0"))
    with Machine(MachineConfig(hd=(DriveConfig(path=str(disk)),))) as machine:
        yield Rig(machine, tmp_path / "picture.png")


def test_keys_are_the_guests_until_the_escape_key(rig: Rig) -> None:
    rig.type("a\x1dhe")
    assert rig.typed == ["a"]
    assert rig.screen.line == SIGN + "he"


def test_the_escape_key_twice_is_one_for_the_guest(rig: Rig) -> None:
    rig.type("\x1d\x1db")
    assert rig.typed == ["\x1d", "b"]


@pytest.mark.parametrize("leave", ["\x1b", "\x03", "\r", "\x04"])
def test_the_prompt_is_left_without_a_command(rig: Rig, leave: str) -> None:
    rig.type("\x1d" + leave)
    assert not rig.screen.open
    assert rig.screen.messages == [""]


def test_any_clear_beginning_is_a_command(rig: Rig) -> None:
    rig.type("\x1dq\r")
    assert rig.quit


def test_an_unclear_beginning_names_what_it_may_be(rig: Rig) -> None:
    rig.type("\x1dre\r")
    assert rig.screen.said == ["re: that may be reset, registers; write more of it"]
    assert rig.screen.open


def test_an_unknown_command_says_where_to_look(rig: Rig) -> None:
    rig.type("\x1dfly\r")
    assert rig.screen.said == ["fly: no such command; help lists them"]


def test_a_word_too_many_is_told(rig: Rig) -> None:
    rig.type("\x1dquit now\r")
    assert rig.screen.said == ["quit now: too many words; expected quit"]
    assert not rig.quit


def test_help_has_every_command(rig: Rig) -> None:
    rig.type("\x1dhelp\r")
    words = {line.split()[0] for line in rig.screen.said}
    assert {"quit", "reset", "pause", "continue", "screenshot", "registers", "devices", "exits"} <= words


def test_a_long_answer_comes_in_pages(rig: Rig) -> None:
    rig.screen.rows = 5
    rig.type("\x1ddevices\r")
    assert len(rig.screen.said) == 5
    assert rig.screen.line == MORE
    rig.type(" ")
    assert len(rig.screen.said) == 5
    rig.type("q")
    assert rig.screen.line == SIGN


def test_devices_have_ports_and_interrupts(rig: Rig) -> None:
    rig.type("\x1ddevices\r")
    lines = {line.split()[0]: line.split()[1:] for line in rig.screen.said}
    assert lines["pit"][:2] == ["0", "40-43"]
    assert lines["i8042"][:3] == ["1,12", "60", "64"]
    assert lines["fdc"][:3] == ["6", "3F0-3F5", "3F7"]
    assert len(rig.screen.said) == len(rig.machine.board.devices) + 1


def test_devices_of_nested_state_say_what_matters(rig: Rig) -> None:
    lines = {line[:14].strip(): line for line in rig.monitor.run("devices")}
    assert "8086:1237 command=6" in lines["i440fx"]
    assert "master=50h slave=none" in lines["ide0"]
    assert "imr=ffh,ffh irr=" in lines["pic"]
    assert "dark" in lines["vga"] or "text 80x25" in lines["vga"]
    bare = {name for name, line in lines.items() if len(line) < 41}
    assert bare <= {"exit", "debug E9h", "debug 402h"}
    assert max(map(len, lines.values())) < 80


def test_devices_have_pins_where_there_are_apics(tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    disk.write_bytes(SPIN.ljust(64 * 512, b"\0"))
    with Machine(MachineConfig(hd=(DriveConfig(path=str(disk)),), apic=True)) as machine:
        lines = Rig(machine, tmp_path / "picture.png").monitor.run("devices")
    rows = {line[:14].strip(): line[15:26].split() for line in lines}
    assert rows["pic"][0] == "0"
    assert rows["pit"][:2] == ["0", "2"]
    assert rows["com1"][:2] == ["4", "4"]
    assert rows["piix3"][0] == "16-19"
    assert max(map(len, lines)) < 80
    assert lines[-1].endswith("open=none")


def test_every_device_can_be_shown_in_full(rig: Rig) -> None:
    for name in rig.monitor.complete("devices "):
        assert rig.monitor.run(name)[0].endswith(":")
    with pytest.raises(ValueError, match="none is named flux"):
        rig.monitor.run("devices flux")


def test_registers_and_exits_are_those_of_the_machine(rig: Rig) -> None:
    assert any("EIP 0000fff0" in line for line in rig.monitor.run("registers"))

    def is_listed() -> bool:
        return any(line.startswith(" software-int") for line in rig.monitor.run("exits"))

    assert rig.machine.run(is_listed, timeout_s=60).reason == "until"


def test_screenshots_go_to_the_file_named_or_the_default(rig: Rig, tmp_path: Path) -> None:
    assert rig.monitor.run("screenshot") == [f"written: {tmp_path / 'picture.png'}"]
    assert rig.monitor.run(f"screenshot {tmp_path / 'other'}") == [f"written: {tmp_path / 'other.png'}"]
    assert (tmp_path / "picture.png").read_bytes() == (tmp_path / "other.png").read_bytes()
    with pytest.raises(ValueError, match="No such file or directory; name another file"):
        rig.monitor.run("screenshot /nowhere/x.png")


def test_keys_are_struck_together(rig: Rig) -> None:
    rig.monitor.run("send ctrl-alt-f2")
    typed = rig.machine.board.keyboard.save().typed
    assert typed[:3] == (("left_ctrl", True), ("left_alt", True), ("f2", True))
    with pytest.raises(ValueError, match="no key is named 'hyper'"):
        rig.monitor.run("send hyper-x")
    with pytest.raises(ValueError, match="which keys"):
        rig.monitor.run("send -")


def test_tab_completes_commands_and_their_words(rig: Rig) -> None:
    rig.type("\x1dscr\t")
    assert rig.screen.line == SIGN + "screenshot "
    rig.type("\x15re\t")
    assert rig.screen.said == ["reset  registers"]
    rig.type("\x15send ctrl-alt-pause\t")
    assert rig.screen.line == SIGN + "send ctrl-alt-pause "


def test_a_paused_machines_clock_stands_still(rig: Rig) -> None:
    rig.machine.run(timeout_s=0.2)
    rig.monitor.run("pause")
    before, registers = rig.machine.now_ns(), rig.machine.registers()
    rig.machine.run(timeout_s=0.3)
    assert rig.machine.now_ns() == before
    assert rig.machine.registers() == registers
    began = host_ns()
    rig.monitor.run("continue")
    rig.machine.run(timeout_s=0.1)
    assert 0 < rig.machine.now_ns() - before <= host_ns() - began


def test_the_processors_own_count_stands_still_too(rig: Rig) -> None:
    engine = rig.machine.processor.live
    if rig.machine.engine_name != "accelerated":
        pytest.skip("only the accelerated engine reads the host's clock by itself")
    rig.machine.pause()
    rig.machine.run(timeout_s=0.2)
    rig.machine.resume()
    before, own, after = rig.machine.now_ns(), host_ns() - engine.shared.host_base_ns, rig.machine.now_ns()  # type: ignore[attr-defined]
    assert before - 100_000_000 < own < after + 100_000_000


def test_host_time_leaves_out_what_it_was_stopped() -> None:
    time = HostTime()
    time.stop()
    stood = time()
    assert time() == stood
    time.go_on()
    time.go_on()
    assert time() >= stood


def editor_with(text: str) -> LineEditor:
    editor = LineEditor(lambda line: [])
    for token in KeyDecoder().feed(text.encode()):
        editor.take(token)
    return editor


@pytest.mark.parametrize(
    ("keys", "text", "cursor"),
    [
        ("abc\x1b[D\x1b[DX", "aXbc", 2),
        ("abc\x1b[HX\x1b[FY", "XabcY", 5),
        ("abc\x7f", "ab", 2),
        ("abc\x1b[H\x1b[3~", "bc", 0),
        ("one two\x17", "one ", 4),
        ("one\x15two", "two", 3),
        ("abc\x01\x0b", "", 0),
    ],
)
def test_lines_are_edited_as_in_a_shell(keys: str, text: str, cursor: int) -> None:
    editor = editor_with(keys)
    assert (editor.text, editor.cursor) == (text, cursor)


def test_arrows_recall_earlier_lines() -> None:
    editor = LineEditor(lambda line: [])
    for line in ("one", "two"):
        editor.clear()
        for letter in line:
            editor.take(letter)
        editor.remember()
    editor.clear()
    editor.take(("up",))
    editor.take(("up",))
    assert editor.text == "one"
    editor.take(("down",))
    assert editor.text == "two"
    editor.take(("down",))
    assert editor.text == ""


@given(st.binary(max_size=60))
def test_the_cursor_stays_in_the_line_whatever_is_typed(data: bytes) -> None:
    editor = LineEditor(lambda line: [line + "x", line + "xy"])
    decoder = KeyDecoder()
    for token in (*decoder.feed(data), *decoder.flush()):
        editor.take(token)
        assert 0 <= editor.cursor <= len(editor.text)
