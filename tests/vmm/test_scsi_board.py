"""A machine with SCSI adapters: what its PCI bus shows, what INT 13h reaches, what the prompt says."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from devices.aic7870.chip import Aic7870
from devices.pci.config import BAR0, COMMAND, INTERRUPT_LINE
from devices.scsi.events import ScsiCommand, ScsiStatus
from devices.scsi.target import ScsiTarget
from devices.scsi.task import GOOD
from tests.vmm.cpu.engine_rig import assemble
from vmm.board import Board
from vmm.cli.devices_table import device_lines, device_names
from vmm.config import BootDevice, DriveConfig, MachineConfig
from vmm.machine import Machine
from vmm.power_on import Drives
from vmm.scsi_config import ScsiAdapter, ScsiDrive
from vmm.trace.events import TimedEvent
from vmm.trace.jsonl import JsonTrace
from vmm.trace.scsi import ScsiTracer
from vmm.trace.text import TextTrace

DISK_BYTES = 1 << 20
CD_BYTES = 64 * 2048
AIC7870, VIRTIO = 0x7078_9004, 0x1004_1AF4
BAR1 = BAR0 + 4


def image(path: Path, size: int, mark: int, boot: bytes = b"") -> str:
    """Write an image whose sectors all hold `mark`, and that boots `boot` if it is given."""
    data = bytearray([mark]) * size
    if boot:
        data[:512] = boot.ljust(510, b"\0") + b"\x55\xaa"
    path.write_bytes(data)
    return str(path)


def write_10(target: ScsiTarget, lba: int, data: bytes) -> int:
    task = target.start(0, struct.pack(">BBIBHB", 0x2A, 0, lba, 0, len(data) // 512, 0))
    task.take(data)
    return task.status


def clear_attention(target: ScsiTarget) -> None:
    """Take the unit attention of power-on."""
    target.start(0, bytes(6))
    target.sense_data(0)


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Machine]:
    """IDE and SCSI drives together: two of the disks and one of the CDs are on the second adapter."""
    numbers = iter(range(1, 100))

    def drive(adapter: int, id: int, size: int = DISK_BYTES) -> ScsiDrive:
        number = next(numbers)
        path = image(tmp_path / f"scsi{number}.img", size, number)
        return ScsiDrive(path=path, adapter=adapter, id=id)

    config = MachineConfig(
        hd=(DriveConfig(path=image(tmp_path / "ide.img", DISK_BYTES, 0xDD), index=3),),
        cd=(DriveConfig(path=image(tmp_path / "ide.iso", CD_BYTES, 0xCD)),),
        scsi_adapters=(ScsiAdapter("aic7870"), ScsiAdapter("virtio")),
        scsi_hd=(drive(0, 9), drive(1, 0), drive(0, 2)),
        scsi_cd=(drive(0, 5, CD_BYTES), drive(1, 1, CD_BYTES)),
    )
    with Machine(config) as machine:
        yield machine


def functions(board: Board) -> dict[int, tuple[int, ...]]:
    """Return identity, BARs, command and interrupt line by slot."""
    return {
        slot: tuple(
            function.config.read(offset, size)
            for offset, size in ((0, 4), (BAR0, 4), (BAR1, 4), (COMMAND, 2), (INTERRUPT_LINE, 1))
        )
        for (slot, _), function in board.pci.functions.items()
    }


def test_adapters_are_in_pci_slots_3_on_and_our_firmware_places_them(full: Machine) -> None:
    full.run(timeout_s=60)
    found = functions(full.board)
    assert [found[slot][0] for slot in (3, 4)] == [AIC7870, VIRTIO]
    assert 5 not in found
    for slot in (3, 4):
        _, ports, memory, command, line = found[slot]
        assert (ports & 0xF003, command, line) == (0xC001, 7, 11)
        assert 0xE000_0000 < memory < 0xFEC0_0000


def test_an_adapters_registers_are_where_its_bars_say(full: Machine) -> None:
    full.run(timeout_s=60)
    _, ports, memory, _, _ = functions(full.board)[3]
    hcntrl, sblkctl = 0x87, 0x1F
    bus = full.bus
    assert bus.read((ports & ~3) + sblkctl, 1) == full.memory.read(memory + sblkctl, 1)[0]
    assert bus.read((ports & ~3) + hcntrl, 1) & 1 == 1  # CHIPRSTACK, since the reset


def test_int_13h_has_scsi_disks_after_ide_ones_by_id_and_of_the_first_adapter_only(full: Machine) -> None:
    drives = [(drive.number, drive.kind, drive.place, drive.scsi) for drive in full.drives.boot]
    assert drives == [
        (0x80, "hd", 3, None),
        (0x81, "hd", None, (3, 2, 0)),
        (0x82, "hd", None, (3, 9, 0)),
        (0xE0, "cd", 2, None),
        (0xE1, "cd", None, (3, 5, 0)),
    ]
    assert [drive.image.read(0, 1)[0] for drive in full.drives.boot[:3]] == [0xDD, 3, 1]


def test_what_is_written_through_a_target_is_what_the_firmware_reads_next(full: Machine) -> None:
    target = full.drives.adapters[0].targets[9]
    clear_attention(target)
    assert write_10(target, 7, b"\x77" * 512) == GOOD
    assert full.drives.boot[2].image.read(7, 1) == b"\x77" * 512


def test_disks_with_high_ids_make_a_bus_wide(full: Machine) -> None:
    assert [fitting.is_wide for fitting in full.drives.adapters] == [True, False]


def test_targets_disconnect_and_misbehave_as_they_were_told(tmp_path: Path) -> None:
    disk = image(tmp_path / "disk.img", DISK_BYTES, 1)
    drive = ScsiDrive(path=disk, id=3, disconnect="mid-data")
    config = MachineConfig(scsi_hd=(drive,), scsi_faults=("absent,id=3",), engine="portable")
    with Machine(config) as machine:
        chip = next(card for card in machine.board.cards if isinstance(card, Aic7870))
        target = chip.bus.peripherals[3]
        assert target.policy == "mid-data"
        assert [target.is_there(), target.is_there()] == [False, True]


def test_devices_show_adapters_targets_and_what_is_in_them(full: Machine) -> None:
    full.run(timeout_s=60)
    lines = {line[:14].strip(): line for line in device_lines(full.board)}
    assert lines["scsi0"].split() == ["scsi0", "11", "C100-C1FF", "aic7870", "targets=2,5,9"]
    assert lines["scsi1"].split()[3:] == ["virtio", "targets=0,1"]
    assert "9004:7078 command=7 at C100h" in lines["scsi0 pci"]
    assert lines["scsi0.2"].split() == ["scsi0.2", "disk", "scsi3.img"]
    assert lines["scsi0.5"].split() == ["scsi0.5", "CD", "scsi4.img"]
    assert max(map(len, lines.values())) < 80
    assert device_lines(full.board, "scsi0.9")[0] == f"scsi0.9: disk {full.config.scsi_hd[0].path}"
    for name in device_names(full.board):
        assert device_lines(full.board, name)[0].startswith(f"{name.replace('-', ' ')}:")


def test_state_of_every_device_survives_saving_and_loading(full: Machine) -> None:
    for device in full.board.devices:
        state = device.save()
        device.load(state)
        assert device.save() == state, device.name


def test_drives_of_an_adapter_nobody_asked_for_are_on_an_aic7870(tmp_path: Path) -> None:
    path = image(tmp_path / "disk.img", DISK_BYTES, 1)
    drives = Drives(MachineConfig(scsi_hd=(ScsiDrive(path=path, adapter=1),)).check())
    drives.close()
    assert [(fitting.kind, list(fitting.targets)) for fitting in drives.adapters] == [
        ("aic7870", []),
        ("aic7870", [0]),
    ]
    assert drives.boot == []  # not the first adapter


# -- booting

COPY_AND_TELL = """
bits 16
org 0x7c00
    push cs
    pop ds
    mov ax, 0x301                       ; the boot sector to sector 3 of the drive in DL
    mov cx, 4
    mov dh, 0
    xor bx, bx
    mov es, bx
    mov bx, 0x7c00
    int 0x13
    jc failed
    mov al, dl
    out 0xf4, al
failed:
    hlt
"""


def test_a_scsi_disk_boots_and_is_written_by_int_13h(tmp_path: Path) -> None:
    boot = assemble(COPY_AND_TELL)
    path = image(tmp_path / "disk.img", DISK_BYTES, 0, boot)
    empty = image(tmp_path / "ide.img", DISK_BYTES, 0)
    config = MachineConfig(hd=(DriveConfig(path=empty),), scsi_hd=(ScsiDrive(path=path, id=3),))
    with Machine(config) as machine:
        result = machine.run(timeout_s=60)
        target = machine.drives.adapters[0].targets[3]
        clear_attention(target)
        read = target.start(0, struct.pack(">BBIBHB", 0x28, 0, 3, 0, 1, 0)).give(512)
    assert (result.reason, result.exit_code) == ("exit", 0x81)
    assert read.startswith(boot)


def test_the_boot_order_says_whether_a_scsi_cd_comes_first(tmp_path: Path) -> None:
    from tests.vmm.firmware.test_boot import disc

    tell = assemble("bits 16\n mov al, dl\n out 0xf4, al\n hlt")
    cd = tmp_path / "cd.iso"
    data = disc().data
    data[20 * 2048 : 20 * 2048 + len(tell)] = tell
    cd.write_bytes(data)
    disk = image(tmp_path / "disk.img", DISK_BYTES, 0, tell)
    orders: tuple[tuple[tuple[BootDevice, ...], int], ...] = ((("cd", "hd"), 0xE0), (("hd", "cd"), 0x80))
    for order, number in orders:
        config = MachineConfig(
            scsi_hd=(ScsiDrive(path=disk),), scsi_cd=(ScsiDrive(path=str(cd)),), boot=order
        )
        with Machine(config) as machine:
            assert machine.run(timeout_s=60).exit_code == number


# -- traces


def told(sink: ScsiTracer) -> None:
    """Give a tracer one command, its failure, and something of another device."""
    cdb = bytes((0x28, 0, 0, 0, 8, 0, 0, 0, 2, 0))
    sense = bytes((0x70, 0, 5, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x21, 0, 0, 0, 0, 0))
    sink.emit(TimedEvent(1500, ScsiCommand("scsi0", 9, 0, cdb, "READ 10", 2048, 2)))
    sink.emit(TimedEvent(2500, ScsiStatus("scsi0", 9, 0, 2, sense, 0, 321, 45_600)))
    sink.emit(TimedEvent(2600, ScsiStatus("scsi0", 9, 0, 0, b"", 1024, 0, 1_000)))
    sink.emit(TimedEvent(2700, TimedEvent(0, ScsiStatus("x", 0, 0, 0, b"", 0, 0, 0))))  # nothing of SCSI's


def test_a_trace_of_scsi_has_a_line_a_command_and_one_a_status() -> None:
    text = io.StringIO()
    told(ScsiTracer(TextTrace(text)))
    command, failure, success = text.getvalue().splitlines()
    assert command == f"   0.000001500  {'scsi0 id 9 lun 0':<20}{'READ 10 lba 2048 blocks 2':<40} " + (
        "28 00 00 00 08 00 00 00 02 00"
    )
    assert "check condition, illegal request 21h/00h out of range" in failure
    assert failure.endswith("0 bytes, 321 instructions, 46 us")
    assert success.split("lun 0")[1].split() == ["good", "1024", "bytes,", "1", "us"]


def test_a_trace_of_scsi_for_programs_is_json_without_host_times_where_runs_repeat() -> None:
    for host_times in (True, False):
        text = io.StringIO()
        told(ScsiTracer(JsonTrace(text, host_times=host_times), limit=2))
        command, status = map(json.loads, text.getvalue().splitlines())
        assert (command["event"], command["time_ns"], command["cdb"]) == (
            "scsicommand",
            1500,
            "28000000080000000200",
        )
        assert (command["name"], command["lba"], command["blocks"]) == ("READ 10", 2048, 2)
        assert (status["status"], status["instructions"], status["data_bytes"]) == (2, 321, 0)
        assert status["sense"].startswith("70000500")
        assert ("ns" in status) == host_times
