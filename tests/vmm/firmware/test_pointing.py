"""INT 15h C2h and INT 74h with the real keyboard controller and a mouse of the test's own."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable

import pytest

from devices.backplane import IrqLine, PortRange
from devices.i8042 import I8042
from devices.keyboard import Keyboard
from tests.vmm.firmware.rig import STACK, Rig
from vmm.clock import MachineClock

REPLIES = {0xFF: b"\xfa\xaa\x00", 0xF2: b"\xfa\x00", 0xE9: b"\xfa\x20\x02\x64"}


class Mouse:
    """Acknowledges everything, as the serial protocol has it; `deaf` answers nothing."""

    def __init__(self) -> None:
        self.out: deque[int] = deque()
        self.commands: list[int] = []
        self.answer: bytes | None = None
        self.deaf = False
        self._ready: Callable[[], None] = lambda: None

    def connect(self, on_ready: Callable[[], None]) -> None:
        self._ready = on_ready

    def has_byte(self) -> bool:
        return bool(self.out)

    def next_byte(self) -> int | None:
        return self.out.popleft() if self.out else None

    def command(self, byte: int) -> None:
        self.commands.append(byte)
        if not self.deaf:
            self.send(self.answer or REPLIES.get(byte, b"\xfa"))

    def send(self, data: bytes) -> None:
        self.out.extend(data)
        self._ready()


class Desk:
    """The firmware, an 8042, a keyboard and the mouse."""

    def __init__(self, present: bool = True) -> None:
        self.rig = Rig(power_on=False)
        self.rig.bus.detach(PortRange(0x64, 1))
        self.clock = MachineClock(self.rig.time)
        self.mouse, self.keyboard = Mouse(), Keyboard(self.clock)
        self.irq12 = IrqLine(lambda _: None)
        self.chip = I8042(
            self.clock,
            self.keyboard,
            IrqLine(lambda _: None),
            self.irq12,
            lambda _: None,
            lambda _: None,
            self.mouse,
        )
        self.rig.bus.attach(self.chip.data_port, PortRange(0x60, 1))
        self.rig.bus.attach(self.chip.command_port, PortRange(0x64, 1))
        self.rig.rtc.registers[0x14] = 4 if present else 0
        self.rig.call(0xF0)

    def call(self, function: int, bx: int = 0, verdict: int = 0) -> int:
        """Execute INT 15h AX=C2xxh as the stub does; return AH."""
        self.rig.call(0x15, verdict=verdict, ax=0xC200 | function, bx=bx)
        for _ in range(2000):
            if self.rig.verdict == 0:
                break
            self.rig.time.value_ns += 1_000_000
            self.clock.run_due()
            self.rig.call(0x15, verdict=2)
        assert self.rig.verdict == 0
        assert self.rig.carry == bool(self.rig.reg("ah"))
        return self.rig.reg("ah")

    def handler(self, size: int = 3) -> None:
        self.call(5, size << 8)
        self.rig.call(0x15, ax=0xC207, bx=0x0123, es=0x4567)
        self.call(0, 0x0100)

    def interrupts(self) -> list[int]:
        """Serve INT 74h while the mouse has bytes; return the verdicts."""
        verdicts = []
        for _ in range(10):
            self.rig.time.value_ns += 1_000_000
            self.clock.run_due()
            if not self.irq12.level:
                break
            self.rig.memory.write(STACK + 2, b"\xee" * 16)
            self.rig.view.regs[4] = STACK
            self.rig.memory.write(STACK, b"\x74\x00")
            self.rig.bios.write(0, 1, 0)
            verdicts.append(self.rig.verdict)
        return verdicts


def test_equipment_tells_of_the_mouse() -> None:
    assert Desk().rig.bda.word(0x10) & 4
    assert Desk(present=False).call(1) == 3


def test_reset_gives_the_devices_answer() -> None:
    desk = Desk()
    assert desk.call(1) == 0
    assert desk.rig.reg("bx") == 0x00AA
    assert desk.mouse.commands == [0xFF]


@pytest.mark.parametrize(
    ("function", "bx", "sent"),
    [
        (2, 0x0000, [0xF3, 10]),
        (2, 0x0600, [0xF3, 200]),
        (3, 0x0300, [0xE8, 3]),
        (6, 0x0100, [0xE6]),
        (6, 0x0200, [0xE7]),
        (0, 0x0000, [0xF5]),
        (5, 0x0300, [0xFF]),
    ],
)
def test_functions_send_their_commands(function: int, bx: int, sent: list[int]) -> None:
    desk = Desk()
    assert desk.call(function, bx) == 0
    assert desk.mouse.commands == sent


@pytest.mark.parametrize(
    ("function", "bx", "status"),
    [
        (8, 0, 1), (0, 0x0200, 2), (2, 0x0700, 2), (3, 0x0400, 2), (5, 0, 2), (5, 0x0900, 2), (6, 0x0300, 2),
        (0, 0x0100, 5),
    ],
)  # fmt: skip
def test_what_cannot_be_has_its_status(function: int, bx: int, status: int) -> None:
    desk = Desk()
    assert desk.call(function, bx) == status
    assert desk.mouse.commands == []


def test_type_and_status_are_read() -> None:
    desk = Desk()
    assert desk.call(4, 0xFFFF) == 0
    assert desk.rig.reg("bh") == 0
    assert desk.call(6) == 0
    assert [desk.rig.reg(name) for name in ("bl", "cl", "dl")] == [0x20, 2, 100]


def test_deaf_device_is_an_interface_error_in_the_end() -> None:
    desk = Desk()
    desk.mouse.deaf = True
    before = desk.rig.time.value_ns
    assert desk.call(1) == 3
    assert 400_000_000 < desk.rig.time.value_ns - before < 600_000_000


@pytest.mark.parametrize(("answer", "status"), [(b"\xfe", 4), (b"\x55", 3)])
def test_device_may_ask_for_a_repetition_or_talk_nonsense(answer: bytes, status: int) -> None:
    desk = Desk()
    desk.mouse.answer = answer
    assert desk.call(4) == status


def test_a_key_meanwhile_is_not_lost() -> None:
    desk = Desk()
    desk.keyboard.press("a")
    desk.rig.call(0x15, ax=0xC201)
    assert desk.rig.verdict == 2
    assert desk.rig.bus.read(0x60, 1) == 0x1E  # as INT 9 does between two calls
    assert desk.call(1, verdict=2) == 0


def test_packet_is_collected_and_handed_to_the_handler() -> None:
    desk = Desk()
    desk.handler()
    assert desk.mouse.commands[-1] == 0xF4
    desk.mouse.send(b"\x09\x05\xfb")
    assert desk.interrupts() == [0, 0, 1]
    handler, segment, back, rom, z, y, x, status = struct.unpack("<8H", desk.rig.memory.read(STACK + 2, 16))
    assert (segment, handler, rom, z, y, x, status) == (0x4567, 0x0123, 0xF000, 0, 0xFB, 5, 9)
    assert desk.rig.bios.rom[back : back + 2] == bytes.fromhex("83c4")  # add sp: the arguments go


def test_packet_size_is_as_initialized() -> None:
    desk = Desk()
    desk.handler(size=4)
    desk.mouse.send(b"\x08\x01\x02\x03")
    assert desk.interrupts() == [0, 0, 0, 1]
    assert struct.unpack("<4H", desk.rig.memory.read(STACK + 10, 8)) == (3, 2, 1, 8)


def test_disabled_device_does_not_interrupt() -> None:
    desk = Desk()
    desk.handler()
    desk.call(0, 0)
    desk.mouse.send(b"\x08\0\0")
    assert desk.interrupts() == []
