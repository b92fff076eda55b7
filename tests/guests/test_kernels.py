"""`--kernel` with software nobody here wrote, and with two small kernels of ours, on both firmwares.

GNU Mach and Xen by Multiboot, memtest86+, GRUB and Debian's Linux by their 16-bit entry, iPXE, which
has no other; ours, in `kernels/`, have their answers worked out from the manuals beforehand.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.guests.assets.debian import unpacked
from tests.guests.assets.initramfs import HALTED, PROMPT, READY, LinuxGuest
from tests.guests.assets.machines import BOOT_S, Firmware, run_until_shown, shown
from tests.guests.assets.trapline import linux_options, trapline
from tests.oracles import require_file, require_tool, run_tool
from vmm.config import DriveConfig, MachineConfig
from vmm.machine import Machine

pytestmark = pytest.mark.guest

MIB: Final = 1 << 20
CTRL_B: Final = "\x02"
SOURCES: Final = Path(__file__).with_name("kernels")
INCLUDES: Final = Path(__file__).with_name("programs")


def mach() -> Path:
    return unpacked("gnumach-image-1.8-486", "i386") / "boot/gnumach-1.8-486.gz"


def memtest() -> Path:
    return unpacked("memtest86+", "amd64") / "boot/memtest86+ia32.bin"


@contextmanager
def machine_with(kernel: Path, firmware: Firmware, **fields: object) -> Iterator[Machine]:
    with Machine(MachineConfig(kernel=str(kernel), **firmware, **fields)) as machine:  # type: ignore[arg-type]
        yield machine


# -- GNU Mach


@pytest.mark.quick("accelerated-ours")
@pytest.mark.parametrize("with_bios", [False, True], ids=["ours", "seabios"])
def test_gnu_mach_finds_our_disk_and_then_nothing_to_start(
    with_bios: bool, engine: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    disk = tmp_path / "disk.img"
    disk.write_bytes(bytes(64 * MIB))
    options: list[str | Path] = ["--kernel", mach(), "--append", "console=com0", "--hd", disk]
    if with_bios:
        options += ["--bios", request.getfixturevalue("seabios")]
        options += ["--vgabios", request.getfixturevalue("vgabios")]
    with trapline("run", *options, "--engine", engine, "--memory", "64M") as machine:
        machine.wait_for(b"GNU Mach 1.8", BOOT_S)
        machine.wait_for(b"ide: Intel 82371 PIIX3", BOOT_S)
        machine.wait_for(b"hd0: TRAPLINE HARDDISK, 64MB w/256kB Cache, CHS=130/16/63", BOOT_S)
        machine.wait_for(b"ide0 at 0x1f0-0x1f7,0x3f6 on irq 14", BOOT_S)
        machine.wait_for(b"bootstrap_create: No bootstrap code loaded with the kernel!", BOOT_S)


# -- memtest86+


@pytest.mark.quick("ours-16", "seabios-32")
@pytest.mark.parametrize("entry", ["16", "32"])
def test_memtest_starts_its_tests(entry: str, firmware: Firmware) -> None:
    options = {"entry": entry, "append": "console=ttyS0,115200", "memory_bytes": 16 * MIB}
    with machine_with(memtest(), firmware, **options) as machine:
        run_until_shown(machine, "Test #0")
        assert b"Memtest86+ v6.10" in machine.serial_output()


def test_memtest_starts_on_the_portable_engine() -> None:
    options = {"entry": "16", "memory_bytes": 16 * MIB, "engine": "portable"}
    with machine_with(memtest(), {}, **options) as machine:
        run_until_shown(machine, "Test #0")


@pytest.mark.verify
@pytest.mark.parametrize("entry", ["16", "32"])
def test_memtest_runs_a_minute_without_an_error(entry: str, firmware: Firmware) -> None:
    with machine_with(memtest(), firmware, entry=entry, memory_bytes=16 * MIB) as machine:
        run_until_shown(machine, "Test #0")
        machine.run(timeout_s=60)
        machine.run(lambda: has_run_five_tests(shown(machine)), BOOT_S * 5)
        screen = shown(machine)
    assert re.search("Errors: 0$", screen, re.MULTILINE), screen
    assert has_run_five_tests(screen), screen


def has_run_five_tests(screen: str) -> bool:
    """Whether the screen shows the sixth test or a later one, or a second pass."""
    passes, test = re.search(r"Pass: +(\d+)", screen), re.search(r"Test #(\d+)", screen)
    return passes is not None and test is not None and (int(passes[1]) > 0 or int(test[1]) >= 5)


# -- iPXE


@pytest.mark.quick("seabios")
def test_ipxe_reaches_its_prompt(firmware: Firmware, accelerated: str) -> None:
    kernel = unpacked("ipxe", "all") / "boot/ipxe.lkrn"
    with machine_with(kernel, firmware, engine=accelerated) as machine:
        run_until_shown(machine, "iPXE initialising devices...ok")
        run_until_shown(machine, "Open Source Network Boot Firmware")
        machine.send_keys(CTRL_B)
        run_until_shown(machine, "iPXE>")
        machine.send_keys("echo <${version}>\n")
        run_until_shown(machine, "<1.0.0+")


# -- GRUB, Linux and Xen


def test_grub_that_looks_like_a_kernel_reaches_its_prompt(
    tmp_path: Path, firmware: Firmware, accelerated: str
) -> None:
    """GRUB's `lnxboot.img` is a Linux setup, of protocol 2.03, that starts the GRUB behind it."""
    core, kernel = tmp_path / "core.img", tmp_path / "grub.lkrn"
    run_tool("grub-mkimage", "-O", "i386-pc", "-p", "(memdisk)", "-o", core, "biosdisk", "normal", "echo")
    front = require_file("/usr/lib/grub/i386-pc/lnxboot.img", "grub-pc-bin")
    kernel.write_bytes(front.read_bytes() + core.read_bytes())
    with machine_with(kernel, firmware, engine=accelerated, entry="16") as machine:
        run_until_shown(machine, "grub>")
        machine.send_keys("echo on-$grub_platform\n")
        run_until_shown(machine, "on-pc")


@pytest.mark.verify
@pytest.mark.parametrize("entry", ["16", "32"])
def test_linux_reaches_its_shell(
    entry: str, linux_i386: LinuxGuest, firmware: Firmware, accelerated: str
) -> None:
    options = [item for name, path in firmware.items() for item in (f"--{name}", path)]
    arguments = [*linux_options(linux_i386, "shell"), "--entry", entry, *options]
    with trapline("run", *arguments, "--engine", accelerated) as machine:
        machine.wait_for(READY, BOOT_S)
        machine.wait_for(PROMPT, BOOT_S)
        machine.send(b"exit\n")
        machine.wait_for(HALTED, BOOT_S)


@pytest.mark.quick("ours")
def test_linux_says_its_banner_from_its_16_bit_entry(
    linux_i386: LinuxGuest, firmware: Firmware, accelerated: str
) -> None:
    options = {"entry": "16", "append": "console=ttyS0 earlyprintk=ttyS0", "memory_bytes": 256 * MIB}
    with machine_with(linux_i386.kernel, firmware, engine=accelerated, **options) as machine:
        result = machine.run(until=b"BIOS-e820: [mem 0x0000000000100000", timeout_s=BOOT_S)
        assert result.reason == "until"
        assert b"Linux version 6.1" in machine.serial_output()


def test_xen_starts_and_misses_its_first_domain(firmware: Firmware, accelerated: str) -> None:
    kernel = unpacked("xen-hypervisor-4.17-amd64", "amd64") / "boot/xen-4.17-amd64.gz"
    options = {"append": "com1=115200,8n1 console=com1 noreboot", "memory_bytes": 512 * MIB}
    with machine_with(kernel, firmware, engine=accelerated, **options) as machine:
        result = machine.run(until=b"dom0 kernel not specified", timeout_s=BOOT_S)
        assert result.reason == "until"
        assert b"Bootloader: Trapline\r\n(XEN) Command line: com1=115200" in machine.serial_output()


# -- ours

MULTIBOOT: Final = {
    "magic": 0x2BADB002,
    "flags": 0,
    "control": 1,
    "data-limit": 0xFFFFFFFF,
    "code-limit": 0xFFFFFFFF,
    "a20": 1,
    "bss": 0,
    "information": 0x184D,  # memory, command line, modules, map, VBE, frame buffer
    "lower": 1,
    "upper": 15 * 1024,
    "command-line": int.from_bytes(b"quie", "little"),
    "modules": 2,
    "module-border": 0,
    "module-data": int.from_bytes(b"DATA", "little"),
    "module-text": int.from_bytes(b" b\0", "little"),
    "second-module": 5,
    "width": 800,
    "height": 600,
    "depth-and-type": 0x0120,  # 32 bits, direct colour
    "pixel": 0x00FF8040,
    "vbe-frame-buffer": 0,
}
FLAT: Final = {
    "interrupts": 0x200,
    "cs": 0,
    "ds-es": 0,
    "drive": 0x80,
    "memory": 1,
    "sector": int.from_bytes(b"DISK", "little"),
    "last-word": 0x12345678,
}


def assemble(name: str, target: Path, *options: str) -> Path:
    command = [require_tool("nasm"), "-w+all", "-f", "bin", f"-I{INCLUDES}/", *options, "-o", target]
    subprocess.run([*command, SOURCES / name], check=True, timeout=60)
    return target


def answers(machine: Machine, wanted: dict[str, int]) -> dict[str, int]:
    result = machine.run(timeout_s=BOOT_S)
    output = machine.debug_output().decode("latin-1")
    assert result.reason == "exit", (result, output, machine.registers())
    lines = [line.split() for line in output.splitlines()]
    return {line[0]: int(line[1], 16) for line in lines if len(line) == 2 and line[0] in wanted}


def test_multiboot_kernel_finds_what_the_specification_promises(
    tmp_path: Path, engine: str, firmware: Firmware
) -> None:
    kernel = assemble("multiboot.asm", tmp_path / "multiboot.bin")
    first, second = tmp_path / "mod.bin", tmp_path / "second"
    first.write_bytes(b"DATA" * 3000)
    second.write_bytes(b"12345")
    options = {
        "append": "quiet",
        "initrd": (f"{first} a b", str(second)),
        "memory_bytes": 16 * MIB,
        "engine": engine,
    }
    with machine_with(kernel, firmware, **options) as machine:
        assert answers(machine, MULTIBOOT) == MULTIBOOT


@pytest.mark.long("portable-seabios-None", "portable-seabios-2000:0100")
@pytest.mark.parametrize("address", [None, "2000:0100"])
def test_flat_binary_finds_what_a_boot_sector_finds(
    address: str | None, tmp_path: Path, engine: str, firmware: Firmware
) -> None:
    places = ("-DORIGIN=0x100", "-DSEGMENT=0x2000") if address else ()
    kernel = assemble("flat.asm", tmp_path / "flat.bin", *places)
    disk = tmp_path / "disk.img"
    disk.write_bytes(b"DISK".ljust(MIB, b"\0"))
    options = {
        "load_address": address,
        "memory_bytes": 16 * MIB,
        "engine": engine,
        "hd": (DriveConfig(path=str(disk), format="raw"),),
    }
    with machine_with(kernel, firmware, **options) as machine:
        assert answers(machine, FLAT) == FLAT


def test_page_fault_after_the_frame_buffer_was_sized_is_one_page_fault(tmp_path: Path, engine: str) -> None:
    kernel = assemble("sizing.asm", tmp_path / "sizing.bin")
    with machine_with(kernel, {}, entry="32", load_address="1M", engine=engine) as machine:
        result = machine.run(timeout_s=BOOT_S)
        assert (result.reason, result.exit_code) == ("exit", 14)


def test_kernel_that_does_not_fit_is_refused_before_the_bios_runs(tmp_path: Path, seabios: Path) -> None:
    kernel = tmp_path / "flat.bin"
    kernel.write_bytes(b"x" * 4096)
    options = ("--kernel", kernel, "--bios", seabios, "--load-address", "0x9f800")
    with trapline("run", *options) as machine:
        assert machine.wait_for_end(BOOT_S) == 1
    assert b"needs 9F800h-A07FFh; free memory is 500h-9FBFFh" in machine.output
    assert machine.output.count(b"\n") == 1
