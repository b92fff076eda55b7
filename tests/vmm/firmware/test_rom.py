"""The ROM's own code, run on the processor."""

from __future__ import annotations

import pytest

from devices.backplane import IrqLine, PortBank, PortRange
from devices.pic8259 import Pic8259Pair
from tests.vmm.firmware.rig import Latches, RamDisk, hard_disk
from vmm.bus import PortBus
from vmm.clock import MachineClock, ManualTime
from vmm.cpu.engine import StopReason
from vmm.cpu.processor import Processor, ProcessorOptions, choose_engine
from vmm.firmware.bda import TICKS, Bda
from vmm.firmware.bios import Bios
from vmm.firmware.host import FirmwareHost
from vmm.firmware.rom import (
    DUMMY_ENTRY,
    FIXED_ENTRIES,
    MODEL,
    ROM_ADDRESS,
    SERVICE_VECTORS,
    build_rom,
)
from vmm.firmware.stubs import TRAP_PORT
from vmm.memory import Memory
from vmm.power_on import ROM_END

DONE_PORT = 0xF4
SLICE_NS = 60_000_000_000  # the accelerated engine measures it on the host
SLICES = 3

FINISH = bytes.fromhex("e6f4 faf4")  # out F4h, al; cli; hlt
READ_KEY = bytes.fromhex("b80000 cd16 a30006")  # mov ax, 0; int 16h; mov [600h], ax
HOOK_TICK = bytes.fromhex("c7067000 007d c7067200 0000")  # INT 1Ch is at 0:7D00
HALT = bytes.fromhex("fb f4")  # sti; hlt
TICK_HOOK = bytes.fromhex("2eff060206 b8adde baadde 8ed8 cf")  # inc word [cs:602h]; AX, DX, DS spoilt; iret
MARK_REGISTERS = bytes.fromhex("b83412 ba7856")  # mov ax, 1234h; mov dx, 5678h
STORE_REGISTERS = bytes.fromhex("a30406 89160606 8c1e0806")  # AX, DX, DS to 604h
SWALLOW_KEYS = bytes.fromhex("c7065400 007d c7065600 0000")  # INT 15h is at 0:7D00
SWALLOWER = bytes.fromhex("a20006 f8 ca0200")  # mov [600h], al; clc; retf 2


def test_rom_is_the_same_every_time_and_64_kib() -> None:
    assert build_rom() == build_rom()
    assert len(build_rom().data) == 0x10000


def test_rom_has_what_programs_look_for_in_any_pc() -> None:
    rom = build_rom().data
    assert rom[0xFFF0:0xFFF5] == bytes.fromhex("ea5be000f0")
    assert (rom[MODEL], rom[DUMMY_ENTRY]) == (0xFC, 0xCF)


@pytest.mark.parametrize("vector", SERVICE_VECTORS)
def test_every_service_entry_pushes_its_vector(vector: int) -> None:
    rom = build_rom()
    entry = rom.entries[vector]
    assert rom.data[entry : entry + 2] == bytes((0x6A, vector))


class Engine:
    """A processor, PICs and the BIOS: the least that runs the ROM's code."""

    def __init__(self, boot_sector: bytes, engine: str) -> None:
        self.memory, self.bus = Memory(1 << 20), PortBus()
        self.time = ManualTime()
        self.scan_code, self.done = 0, False
        self.pic = Pic8259Pair(IrqLine(lambda level: self.processor.live.set_interrupt(level)))
        self.bus.attach(self.pic.master_ports, PortRange(0x20, 2))
        self.bus.attach(self.pic.slave_ports, PortRange(0xA0, 2))
        self.bus.attach(
            PortBank("kbd", lambda offset, size: self.scan_code, lambda *_: None), PortRange(0x60, 1)
        )
        self.bus.attach(PortBank("done", lambda *_: 0, self._finish), PortRange(DONE_PORT, 1))
        self.control = Latches(self.bus, 0x92, 1)
        rom = build_rom().data
        self.memory.add_rom(ROM_END - len(rom), rom)
        self.memory.ram[ROM_ADDRESS:] = rom
        clock = MachineClock(self.time)
        self.processor = Processor(
            self.memory, self.bus, self.pic.acknowledge, self.time, ProcessorOptions(engine=engine)
        )
        disk = RamDisk(bytearray(boot_sector.ljust(510, b"\0") + b"\x55\xaa"))
        bios = Bios(
            FirmwareHost(self.processor.live, self.memory, self.bus, clock, 1 << 20, [hard_disk(disk)])
        )
        self.bus.attach(bios, PortRange(TRAP_PORT, 1))
        self.processor.reset()

    def _finish(self, offset: int, size: int, value: int) -> None:
        self.done = True
        self.processor.live.stop()

    def run(self) -> None:
        """Run until the guest halts; time stands still."""
        for _ in range(SLICES):
            if self.processor.live.run(SLICE_NS) is StopReason.HALTED:
                return

    def interrupt(self, irq: int) -> None:
        """Raise an interrupt line until what follows has run."""
        line = self.pic.input(irq)
        line.set_level(True)
        self.run()
        line.set_level(False)

    def word(self, address: int) -> int:
        return int.from_bytes(self.memory.read(address, 2), "little")


@pytest.fixture(params=["portable", "accelerated"])
def engine_name(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if name == "accelerated" and choose_engine("auto")[0] != name:
        pytest.skip("NOT RUN: the accelerated engine is not built")
    return name


def booted(code: bytes, engine: str, at_7d00: bytes = b"") -> Engine:
    """Power on, boot `code` with `at_7d00` behind it, and run until it waits."""
    machine = Engine(code.ljust(0x100, b"\x90") + at_7d00, engine)
    machine.run()
    return machine


def test_int_16h_waits_for_the_keyboard_interrupt(engine_name: str) -> None:
    machine = booted(READ_KEY + FINISH, engine_name)
    assert not machine.done
    machine.scan_code = 0x1E
    machine.interrupt(1)
    assert machine.done
    assert machine.word(0x600) == 0x1E61


def test_other_interrupts_do_not_end_the_wait(engine_name: str) -> None:
    machine = booted(READ_KEY + FINISH, engine_name)
    before = Bda(machine.memory).dword(TICKS)
    for _ in range(3):
        machine.interrupt(0)
    assert not machine.done
    assert Bda(machine.memory).dword(TICKS) == before + 3


def test_timer_interrupt_calls_int_1ch_and_keeps_registers(engine_name: str) -> None:
    code = HOOK_TICK + MARK_REGISTERS + HALT + STORE_REGISTERS + FINISH
    machine = booted(code, engine_name, TICK_HOOK)
    machine.interrupt(0)
    assert machine.done
    assert machine.word(0x602) == 1
    assert [machine.word(at) for at in (0x604, 0x606, 0x608)] == [0x1234, 0x5678, 0]


def test_int_15h_4fh_may_swallow_a_key(engine_name: str) -> None:
    machine = booted(SWALLOW_KEYS + HALT + FINISH, engine_name, SWALLOWER)
    machine.scan_code = 0x1E
    machine.interrupt(1)
    assert machine.word(0x600) & 0xFF == 0x1E
    data = Bda(machine.memory)
    assert data.word(0x1A) == data.word(0x1C)


def at(address: int, code: str) -> bytes:
    """Code that copies the `code` bytes to an address below 64 KiB."""
    data = bytes.fromhex(code)
    return b"".join(
        b"\xc6\x06" + (address + n).to_bytes(2, "little") + bytes((byte,)) for n, byte in enumerate(data)
    )


def vector(number: int, offset: int) -> bytes:
    """Point a vector to 0:`offset`: mov word [..], offset; mov word [..], 0."""
    place = number * 4
    return (
        b"\xc7\x06"
        + place.to_bytes(2, "little")
        + offset.to_bytes(2, "little")
        + bytes.fromhex("c706")
        + (place + 2).to_bytes(2, "little")
        + b"\0\0"
    )


COUNT = "2eff060206 cf"  # inc word [cs:602h]; iret
RECORD_AX = "2ea31006 cf"  # mov [cs:610h], ax; iret


@pytest.mark.parametrize(
    ("number", "codes"),
    [(0x1B, (0x1D, 0xE0, 0x46)), (0x05, (0xE0, 0x37)), (0x09, ())],
    ids=["Ctrl-Break", "Print Screen", "none"],
)
def test_keys_call_the_interrupts_they_stand_for(
    engine_name: str, number: int, codes: tuple[int, ...]
) -> None:
    setup = at(0x7D80, COUNT) + (vector(number, 0x7D80) if codes else b"")
    machine = booted(setup + bytes.fromhex("fb f4 ebfc"), engine_name)  # sti; hlt; again
    for code in codes:
        machine.scan_code = code
        machine.interrupt(1)
    assert machine.word(0x602) == bool(codes)


def test_waiting_and_arriving_keys_are_told_to_int_15h(engine_name: str) -> None:
    # INT 15h: keep AX of a call 90h or 91h, then say done
    hook = "80fc907405 80fc917509 2eff060206 2ea31006 f9 ca0200"
    machine = booted(at(0x7E00, hook) + vector(0x15, 0x7E00) + READ_KEY + FINISH, engine_name)
    assert machine.word(0x610) == 0x9002
    machine.scan_code = 0x1E
    machine.interrupt(1)
    assert (machine.word(0x610), machine.word(0x602)) == (0x9102, 2)
    assert machine.word(0x600) == 0x1E61


def test_pause_holds_the_program_until_a_key(engine_name: str) -> None:
    # sti; inc word [602h] at each turn of a loop that halts
    machine = booted(bytes.fromhex("fb ff060206 f4 ebf9"), engine_name)
    for code in (0xE1, 0x1D, 0x45):
        machine.scan_code = code
        machine.interrupt(1)
    turns = machine.word(0x602)
    machine.interrupt(0)
    assert machine.word(0x602) == turns
    machine.scan_code = 0x39
    machine.interrupt(1)
    machine.interrupt(0)
    assert machine.word(0x602) > turns


@pytest.mark.parametrize("number", [0x02, 0x05, 0x08, 0x09, 0x0E, *range(0x10, 0x18), 0x19, 0x1A])
def test_fixed_entries_lead_where_the_vectors_do(number: int) -> None:
    rom = build_rom()
    place = next(address for address, which in FIXED_ENTRIES.items() if which == number)
    assert rom.data[place] == 0xE9
    distance = int.from_bytes(rom.data[place + 1 : place + 3], "little")
    assert place + 3 + distance & 0xFFFF == rom.entries[number]


def test_fixed_tables_are_those_of_the_at() -> None:
    rom = build_rom().data
    assert rom[0xE6F5:0xE6FA] == bytes((8, 0, 0xFC, 1, 0))
    assert rom[0xEFC7:0xEFD2] == bytes.fromhex("df02250212 1bff6cf60f08")
    assert rom[0xF0A4:0xF0A8] == bytes.fromhex("38282d0a")
    assert rom[0xF0EC:0xF0F4] == bytes.fromhex("2828505028285050")
