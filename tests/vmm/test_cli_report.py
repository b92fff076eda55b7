"""What a run says at its end, in a terminal and elsewhere."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import select
import struct
import termios
from collections.abc import Iterator

import pytest

from vmm.cli.report import print_end, print_note
from vmm.techniques.exits import Finding

LINE = "halted for ever: interrupts are off and nothing can wake the processor; 1.234 s virtual, 5.678 s host"


class Terminal:
    """A terminal of 40 columns."""

    def __init__(self) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 40, 0, 0))
        self.stream = os.fdopen(theirs, "w")

    def shown(self) -> list[str]:
        """Return the lines printed so far."""
        data = b""
        while select.select([self._ours], [], [], 0.1)[0]:
            data += os.read(self._ours, 65536)
        return data.decode().splitlines()

    def close(self) -> None:
        self.stream.close()
        os.close(self._ours)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    made = Terminal()
    yield made
    made.close()


def test_a_long_end_is_broken_between_words(terminal: Terminal) -> None:
    print_end(LINE, {}, terminal.stream)
    terminal.stream.flush()
    assert terminal.shown()[1:5] == [
        "trapline: halted for ever: interrupts",
        "  are off and nothing can wake the",
        "  processor; 1.234 s virtual, 5.678 s",
        "  host",
    ]


def test_a_long_word_stays_whole(terminal: Terminal) -> None:
    print_note(f"{'x' * 50} y-z", terminal.stream)
    assert terminal.shown() == ["trapline:", f"  {'x' * 50}", "  y-z"]


def test_elsewhere_it_is_one_line() -> None:
    stream = io.StringIO()
    print_end(LINE, {}, stream)
    assert stream.getvalue().startswith(f"trapline: {LINE}\n")


def test_violations_are_listed_below_the_table_each_where_it_happened() -> None:
    stream = io.StringIO()
    found = Finding(0x10_0234, "pushfd", "PUSHF", "showed the guest the real IF")
    print_end("ended", {}, stream, [found] * 42)
    text = stream.getvalue()

    assert "42 places where Popek and Goldberg's condition is violated" in text
    assert "pushfd                       PUSHF at 00100234h showed the guest the real IF" in text
    assert "and 2 more; --json lists all" in text
