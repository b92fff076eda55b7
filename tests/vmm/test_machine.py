"""The machine's run loop on both engines: how runs end, resets, input, snapshots."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.vmm.cpu.engine_rig import both_engines
from tests.vmm.machine_rig import Bench
from vmm.config import DriveConfig, MachineConfig
from vmm.errors import ConfigError, EngineError
from vmm.machine import Machine
from vmm.trace.events import Exit

pytestmark = both_engines


@pytest.fixture
def bench(tmp_path: Path, engine: str) -> Bench:
    return Bench(tmp_path, engine)


def test_a_run_ends_when_its_text_appears(bench: Bench) -> None:
    with bench.machine("again: say 'h'\n say 'i'\n say '!'\n jmp again") as machine:
        assert machine.run(until="hi!", timeout_s=20).reason == "until"
        assert machine.serial_output().endswith(b"hi!")
        length = len(machine.serial_output())
        assert machine.run(until=b"!h", timeout_s=20).reason == "until"
        assert len(machine.serial_output()) > length


def test_text_on_a_debug_port_counts_too(bench: Bench) -> None:
    with bench.machine(
        "mov al, 'o'\n out 0xe9, al\n mov al, 'k'\n mov dx, 0x402\n out dx, al\n jmp $"
    ) as machine:
        assert machine.run(until="ok", timeout_s=20).reason == "until"
        assert machine.debug_output() == b"ok"


def test_a_run_ends_when_its_function_says_so(bench: Bench) -> None:
    with bench.machine("inc byte [0x500]\n jmp start") as machine:
        assert (
            machine.run(until=lambda: machine.memory.read(0x500, 1) != b"\0", timeout_s=20).reason == "until"
        )


def test_a_run_ends_at_its_time_out_and_goes_on_later(bench: Bench) -> None:
    with bench.machine("inc dword [0x500]\n jmp start") as machine:
        counts = []
        for _ in range(2):
            began = time.monotonic()
            assert machine.run(timeout_s=0.15).reason == "timeout"
            assert 0.1 < time.monotonic() - began < 20
            counts.append(int.from_bytes(machine.memory.read(0x500, 4), "little"))
        assert 0 < counts[0] < counts[1]


def test_a_run_ends_with_the_value_written_to_the_exit_port(bench: Bench) -> None:
    with bench.machine("mov al, 42\n out 0xf4, al\n hlt") as machine:
        result = machine.run(timeout_s=20)
        assert (result.reason, result.exit_code) == ("exit", 42)


def test_a_triple_fault_ends_the_run_where_it_happened(bench: Bench) -> None:
    with bench.machine("lidt [cs:none]\n mov bx, 0x1234\n int3\n none: dw 0\n dd 0") as machine:
        assert machine.run(timeout_s=20).reason == "triple-fault"
        assert machine.registers()["ebx"] & 0xFFFF == 0x1234
        assert machine.registers()["cs"] == 0xF000


def test_a_processor_that_nothing_can_wake_ends_the_run(bench: Bench) -> None:
    with bench.machine("cli\n hlt") as machine:
        assert machine.run(timeout_s=20).reason == "halted"
        assert machine.exits["hlt"].count == 1


RESETS = {
    "keyboard controller": "mov al, 0xfe\n out 0x64, al",
    "port 92h": "in al, 0x92\n or al, 1\n out 0x92, al",
    "port cf9h": "mov dx, 0xcf9\n mov al, 2\n out dx, al\n mov al, 6\n out dx, al",
}


@pytest.mark.parametrize("way", RESETS)
def test_every_reset_starts_again_at_the_reset_vector(bench: Bench, way: str) -> None:
    """RAM is kept; the processor comes out of protected mode, and A20 is open."""
    body = f"""
        inc byte [0x500]
        cmp byte [0x500], 3
        je done
        lgdt [cs:gdtr]
        mov eax, cr0
        or al, 1
        mov cr0, eax
        {RESETS[way]}
        hlt
    done:
        smsw ax
        out 0xf4, al
        hlt
    gdtr: dw 0xff
        dd 0"""
    with bench.machine(body) as machine:
        result = machine.run(timeout_s=20)
        assert (result.reason, result.exit_code) == ("exit", 0x10)
        assert machine.memory.read(0x500, 1) == b"\x03"


def test_the_reset_button(bench: Bench) -> None:
    with bench.machine("inc byte [0x500]\n say 'r'\n sti\n jmp $") as machine:
        machine.run(until="r", timeout_s=20)
        machine.reset()
        machine.run(until="r", timeout_s=20)
        assert machine.memory.read(0x500, 1) == b"\x02"


WRITE_SECTOR = """
    mov dx, 0x1f6                       ; LBA 1, one sector, WRITE SECTORS
    mov al, 0xe0
    out dx, al
    mov dx, 0x1f2
    mov al, 1
    out dx, al
    inc dx
    out dx, al
    xor al, al
    inc dx
    out dx, al
    inc dx
    out dx, al
    mov dx, 0x1f7
    mov al, 0x30
    out dx, al
busy:
    in al, dx
    test al, 8
    jz busy
    mov dx, 0x1f0
    mov cx, 256
    mov ax, 0x5aa5
again:
    out dx, ax
    loop again
    mov al, 1
    out 0xf4, al
    hlt
"""


@pytest.mark.parametrize("snapshot", [False, True])
def test_a_snapshot_leaves_the_image_alone(bench: Bench, tmp_path: Path, snapshot: bool) -> None:
    """The IDE channel answers once PCI is set up; here its decode is enabled by hand."""
    disk = tmp_path / "disk.img"
    disk.write_bytes(bytes(1 << 20))
    enable = """
        mov dx, 0xcf8
        mov eax, 0x80000940             ; PIIX3 IDE timing: decode the primary channel
        out dx, eax
        mov dx, 0xcfc
        mov eax, 0x80008000
        out dx, eax
        mov dx, 0xcf8
        mov eax, 0x80000904             ; command: I/O space
        out dx, eax
        mov dx, 0xcfc
        mov eax, 5
        out dx, eax
    """
    drive = (DriveConfig(path=str(disk)),)
    with bench.machine(enable + WRITE_SECTOR, hd=drive, snapshot=snapshot) as machine:
        assert machine.run(timeout_s=20).reason == "exit"
    expected = bytes(512) if snapshot else b"\xa5\x5a" * 256
    assert disk.read_bytes()[512:1024] == expected


def test_closing_twice_is_allowed(bench: Bench) -> None:
    with bench.machine("cli\n hlt") as machine:
        machine.run(timeout_s=20)
        machine.close()


def test_a_failed_construction_closes_its_disks(engine: str, tmp_path: Path) -> None:
    """The image can be opened again: nothing keeps its lock."""
    disk, bios = tmp_path / "disk.img", tmp_path / "bios.bin"
    disk.write_bytes(bytes(1 << 20))
    bios.write_bytes(bytes(1000))
    drive = (DriveConfig(path=str(disk)),)
    with pytest.raises(ConfigError, match="BIOS"):
        Machine(MachineConfig(bios=str(bios), hd=drive, engine=engine))  # type: ignore[arg-type]
    with Machine(MachineConfig(hd=drive, engine=engine)) as machine:  # type: ignore[arg-type]
        assert machine.engine_name == engine


def test_what_a_closed_machine_did_can_be_read_and_nothing_else(bench: Bench) -> None:
    with bench.machine("say 'x'\n mov eax, 0x1234\n cli\n hlt") as machine:
        machine.run(timeout_s=20)
        now_ns = machine.now_ns()

    assert machine.registers()["eax"] == 0x1234
    assert machine.exits["io.out"].count >= 1
    assert (machine.serial_output(), machine.now_ns() >= now_ns) == (b"x", True)
    machine.memory.write(0x500, b"later")
    for use in (machine.run, machine.reset, machine.nmi, machine.close):
        if use == machine.close:
            use()
        else:
            with pytest.raises(EngineError, match="closed"):
                use()


def test_an_nmi_ends_hlt_though_interrupts_are_off(bench: Bench) -> None:
    """It comes while the guest is on its way to HLT, in the same block."""
    machines: list[Machine] = []

    class Pulse:
        def emit(self, event: object) -> None:
            if isinstance(event, Exit) and event.reason == "io.out" and machines:
                machines.pop().nmi()

    with bench.machine(
        """
        cli
        mov word [2 * 4], handler
        mov word [2 * 4 + 2], 0xf000
        out 0xe9, al
        hlt
        say 'h'
        mov al, 7
        out 0xf4, al
        hlt
    handler:
        iret
        """
    ) as machine:
        machines.append(machine)
        machine.trace_exits(Pulse())
        result = machine.run(timeout_s=20)
    assert (result.reason, result.exit_code, machine.serial_output()) == ("exit", 7, b"h")
