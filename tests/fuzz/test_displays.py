"""Whatever a guest makes of the VGA and the frame buffer, every way of showing it goes on showing it."""

from __future__ import annotations

import io
import os
import time
from pathlib import Path
from random import Random

import pytest

from tests.fuzz import chip_sequences as c
from tests.fuzz.board import FuzzedBoard
from tests.fuzz.test_ports import seeds
from vmm.display import rfb
from vmm.display.png_file import PngFile
from vmm.display.screenshot import draw
from vmm.display.terminal import TerminalDisplay

SEQUENCES = (c.vga, c.vga, c.dispi, c.dispi, c.window, c.frame_buffer_move)
TERMINALS = ((80, 25), (1, 1), (1, 200), (500, 2), (132, 43))
HANDSHAKE = b"RFB 003.008\n\x01\x01"
UPDATE = bytes((3, 1)) + bytes(8)
ENCODINGS = (
    b"",
    bytes((2, 0, 0, 2)) + rfb.ZRLE.to_bytes(4, "big") + (rfb.DESKTOP_SIZE & 0xFFFFFFFF).to_bytes(4, "big"),
)
LONGEST_S = 5.0  # processor time of all displays together for one picture
QUICK, ALL = 12, 1500


class Displays:
    """A board, and all displays of its screen."""

    def __init__(self, seed: int, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rng = Random(seed)
        self.machine = FuzzedBoard(seed & ~1)
        self.vga = self.machine.board.vga
        monkeypatch.setattr(os, "get_terminal_size", lambda *_: os.terminal_size(self.rng.choice(TERMINALS)))
        self.terminals = [
            TerminalDisplay(self.vga, Dumb(), self._now_ns, {"NO_COLOR": no_colour}, lambda: "status")
            for no_colour in ("", "1")
        ]
        self.png = PngFile(self.vga, path, self._now_ns)
        self.clients = []
        for encodings in ENCODINGS:
            height, width, _ = draw(self.vga).shape
            client = rfb.Connection("fuzz", (width, height), rfb.Events(lambda *_: None, lambda *_: None))
            client.receive(HANDSHAKE + encodings)
            self.clients.append(client)
        for terminal in self.terminals:
            terminal.open()

    def _now_ns(self) -> int:
        return self.machine.time.value_ns

    def change(self) -> None:
        """Let the guest do something to its screen, noise in the frame buffer included."""
        for step in self.rng.choice(SEQUENCES)(self.rng):
            self.machine.play(step)
        if self.rng.random() < 0.2:
            memory = self.vga.frame_buffer
            at = self.rng.randrange(len(memory) - 0x10000)
            memory[at : at + 0x10000] = self.rng.randbytes(0x10000)

    def show(self) -> None:
        """Paint it everywhere."""
        self.machine.time.value_ns += 2_000_000_000
        self.vga.text_screen().text()
        for terminal in self.terminals:
            terminal.refresh()
        self.png.refresh()
        picture = draw(self.vga)
        for client in self.clients:
            client.output.clear()
            client.receive(UPDATE)
            client.show(picture)


class Dumb(io.StringIO):
    """A terminal that forgets what it shows."""

    def write(self, text: str) -> int:
        return len(text)

    def fileno(self) -> int:
        return 1


def shake(displays: Displays, pictures: int) -> None:
    for number in range(pictures):
        displays.change()
        began = time.process_time()
        displays.show()
        assert time.process_time() - began < LONGEST_S, f"picture {number}"


@pytest.mark.parametrize("seed", seeds(2))
def test_any_state_of_the_screen_can_be_shown(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shake(Displays(seed, tmp_path / "screen.png", monkeypatch), QUICK)


@pytest.mark.verify
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", seeds(4))
def test_any_state_of_the_screen_can_be_shown_at_length(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shake(Displays(100 + seed, tmp_path / "screen.png", monkeypatch), ALL)
