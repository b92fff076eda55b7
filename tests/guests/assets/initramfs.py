"""Debian's kernel with an initramfs of ours: busybox, `init.sh` and drivers of IDE and SCSI.

Only files of unpacked packages go in; the same packages give the same bytes.
"""

from __future__ import annotations

import hashlib
import lzma
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.guests.assets.cpio import Archive
from tests.guests.assets.debian import CACHE, cache_lock, unpacked
from tests.oracles import MissingError

KERNELS: Final = {"i386": "linux-image-686", "amd64": "linux-image-amd64"}

WANTED: Final = (
    "crc32c_generic",
    "ext4",
    "sd_mod",
    "sr_mod",
    "isofs",
    "nls_ascii",
    "nls_cp437",
    "vfat",
    "ata_piix",
)
"""Modules to load, in this order, each after what it depends on. ext4 asks for `crc32c` by the
name of the algorithm, which no dependency says: hence crc32c_generic before it. The host adapter
is last, so that a disk it finds meets its driver."""

CHIPS: Final = ("floppy", "psmouse", "parport_pc", "lp")
"""Modules that only the mode `chips` loads: drivers of what is on the mainboard beside the disks."""

SCSI: Final = ("aic7xxx", "virtio_pci", "virtio_scsi")
"""Modules that only the modes about SCSI load: the host adapters' drivers."""

PEERS: Final = ("sym53c8xx",)
"""Modules that only the mode `speed` loads: drivers of adapters that QEMU has and we have not."""

EXTRA: Final = {"chips": CHIPS, "scsi": SCSI, "peers": PEERS}

APPLETS: Final = """
    blockdev cat cmp cp cttyhack cut dd df dmesg echo fdisk findfs free grep halt head insmod kill ls lsmod
    md5sum mkdir mke2fs mkdosfs mount od poweroff printf ps pwd readlink reboot rm sed seq setsid sh
    sha256sum sleep sort switch_root sync tail test time touch tr true umount uname uniq uptime vi wc yes
"""

COMMAND_LINE: Final = (
    "console=ttyS0 nolapic noapic acpi=off nokaslr no_timer_check lpj=1000000 "
    "random.trust_cpu=on mitigations=off"
)
"""For a PC without APIC and ACPI. `trapline.mode=` is to be added; see init.sh."""

APIC_COMMAND_LINE: Final = COMMAND_LINE.replace("nolapic noapic ", "").replace("no_timer_check ", "")
"""For a PC with APICs: the kernel looks for them, and checks that the timer arrives."""

READY: Final = b"TRAPLINE-GUEST-READY"
DISK_OK: Final = b"TRAPLINE-DISK-OK sha256 "
DISK_FAIL: Final = b"TRAPLINE-DISK-FAIL"
PROMPT: Final = b"guest# "
HALTED: Final = b"reboot: System halted"
"""Last line of a kernel that cannot switch its power off: without ACPI it halts instead."""

MEBIBYTE: Final = 1 << 20
DATA_BLOCKS: Final = 64


@dataclass(frozen=True)
class LinuxGuest:
    """A kernel and its initramfs, as files of the host."""

    architecture: str
    kernel: Path
    initramfs: Path

    def command_line(self, mode: str, *, apic: bool = False) -> str:
        """Return the kernel command line that makes /init do `mode`, on a PC with or without APICs."""
        return f"{APIC_COMMAND_LINE if apic else COMMAND_LINE} trapline.mode={mode}"


def kernel_package(architecture: str) -> Path:
    """Return the folder of the files of Debian's kernel for "i386" or "amd64".

    Raises:
        MissingError: the package cannot be had.
    """
    return unpacked(KERNELS[architecture], architecture, real_name=r"linux-image-\d[^\s:]+")


def linux_guest(architecture: str) -> LinuxGuest:
    """Return Debian's kernel for "i386" or "amd64" with our initramfs, preparing them at first use.

    Raises:
        MissingError: a package cannot be had.
    """
    name = KERNELS[architecture]
    kernel_files = kernel_package(architecture)
    busybox = unpacked("busybox-static", architecture) / "bin" / "busybox"
    kernels = sorted((kernel_files / "boot").glob("vmlinuz-*"))
    if not kernels:
        raise MissingError(f"{name}:{architecture} in {kernel_files} holds no boot/vmlinuz-*")
    modules = module_files(kernel_files, WANTED)
    extra = {name: module_files(kernel_files, wanted, modules) for name, wanted in EXTRA.items()}
    archive = build(busybox.read_bytes(), modules, extra)
    image = CACHE / architecture / "initramfs.cpio"
    with cache_lock():
        fresh = image.with_suffix(f".{os.getpid()}")
        fresh.write_bytes(archive)
        fresh.replace(image)
    return LinuxGuest(architecture, kernels[-1], image)


def build(busybox: bytes, modules: dict[str, bytes], extra: Mapping[str, dict[str, bytes]]) -> bytes:
    """Return the archive; `modules`, in a mode that `extra` names those too, are loaded in that order."""
    archive = Archive()
    for name in ("bin", "dev", "etc", "lib", "lib/modules", "mnt", "proc", "sys", "tmp"):
        archive.directory(name)
    archive.character_device("dev/console", 5, 1)
    archive.file("init", Path(__file__).with_name("init.sh").read_bytes(), mode=0o755)
    archive.file("bin/busybox", busybox, mode=0o755)
    for applet in APPLETS.split():
        archive.link(f"bin/{applet}", "busybox")
    archive.file("etc/data.sha256", hashlib.sha256(expected_data()).hexdigest().encode() + b"\n")
    archive.file("etc/scsi.sh", Path(__file__).with_name("scsi.sh").read_bytes())
    orders = {"load-order": modules} | {f"load-order.{mode}": names for mode, names in extra.items()}
    for name, content in {name: file for files in orders.values() for name, file in files.items()}.items():
        archive.file(f"lib/modules/{name}", content)
    for order, names in orders.items():
        archive.file(f"lib/modules/{order}", "".join(f"{name}\n" for name in names).encode())
    return archive.getvalue()


def module_files(kernel_files: Path, wanted: Sequence[str], loaded: Collection[str] = ()) -> dict[str, bytes]:
    """Return the wanted modules with all they depend on and is not `loaded`, each after its dependencies."""
    found: dict[str, Path] = {}
    for path in sorted((kernel_files / "lib" / "modules").rglob("*.ko*")):
        found.setdefault(path.name.split(".ko")[0].replace("-", "_"), path)
    ordered: dict[str, bytes] = {}

    def add(name: str) -> None:
        if f"{name}.ko" in (*ordered, *loaded) or name not in found:  # not found: built into the kernel
            return
        content = found[name].read_bytes()
        if found[name].suffix == ".xz":
            content = lzma.decompress(content)
        for dependency in dependencies(content):
            add(dependency)
        ordered[f"{name}.ko"] = content

    for name in wanted:
        add(name)
    return ordered


def dependencies(module: bytes) -> list[str]:
    """Return the names a kernel module gives in `depends=` of its .modinfo section."""
    _, found, rest = module.partition(b"\0depends=")
    names = rest.partition(b"\0")[0].decode() if found else ""
    return [name.replace("-", "_") for name in names.split(",") if name]


def expected_data() -> bytes:
    """Return the bytes that init.sh writes to /mnt/data."""
    base = "".join(f"{line}\n" for line in range(1, 170001)).encode()[:MEBIBYTE]
    blocks = (f"{block:{block * 7 + 9}d}".encode() + base for block in range(DATA_BLOCKS))
    return b"".join(block[:MEBIBYTE] for block in blocks)
