"""A disk with an installed Linux: GRUB, Debian's kernel, an initramfs with every disk driver, a root on ext2.

Nothing in it names a disk or a controller: GRUB and the initramfs find the root by its UUID. `root-init.sh`
is what it does.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from tests.guests.assets import bootdisk, grub
from tests.guests.assets.debian import unpacked
from tests.guests.assets.initramfs import APPLETS, LinuxGuest

SIZE_MIB: Final = 64
SCRIPT: Final = """
search --no-floppy --fs-uuid --set=root {uuid}
linux /boot/vmlinuz {command_line} root=UUID={uuid}
initrd /boot/initrd.img
boot
"""


def root_vhd(folder: Path, guest: LinuxGuest) -> Path:
    """Write the disk as a dynamic VHD into `folder`; return its path."""
    tree = folder / "root"
    for name in ("bin", "boot", "dev", "etc", "mnt", "proc", "sbin", "sys", "tmp", "var/log"):
        (tree / name).mkdir(parents=True)
    busybox = unpacked("busybox-static", guest.architecture) / "bin" / "busybox"
    files = {"bin/busybox": busybox, "boot/vmlinuz": guest.kernel, "boot/initrd.img": guest.initramfs}
    sums = []
    for name, source in files.items():
        content = source.read_bytes()
        (tree / name).write_bytes(content)
        sums.append(f"{hashlib.sha256(content).hexdigest()}  /{name}\n")
    (tree / "bin" / "busybox").chmod(0o755)
    for applet in APPLETS.split():
        (tree / "bin" / applet).symlink_to("busybox")
    (tree / "etc" / "manifest").write_text("".join(sums))
    (tree / "sbin" / "init").write_bytes(Path(__file__).with_name("root-init.sh").read_bytes())
    (tree / "sbin" / "init").chmod(0o755)
    script = SCRIPT.format(uuid=grub.UUID, command_line=guest.command_line("root"))
    image = grub.disk(folder, script, size_mib=SIZE_MIB, root=tree)
    return bootdisk.dynamic_vhd(image, folder / "linux.vhd")
