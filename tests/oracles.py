"""Independent tools and foreign guests: what to do when one is missing.

On a developer's machine a test that lacks its tool is skipped, and says which package brings it.
Where `CI=true` the same test fails: there nothing may be left out silently. A test just lets
MissingError through: `tests/conftest.py` gives it to `missing`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final, NoReturn

import pytest

PACKAGES: Final = {
    "7zz": "7zip",
    "apt-get": "apt",
    "debugfs": "e2fsprogs",
    "dpkg-deb": "dpkg",
    "e2fsck": "e2fsprogs",
    "fsck.fat": "dosfstools",
    "grub-mkimage": "grub-common",
    "grub-mkrescue": "grub-common",
    "gvnccapture": "gvncviewer",
    "isoinfo": "genisoimage",
    "mcopy": "mtools",
    "mke2fs": "e2fsprogs",
    "mkfs.fat": "dosfstools",
    "nasm": "nasm",
    "nbdcopy": "libnbd-bin",
    "nbdinfo": "libnbd-bin",
    "qemu-img": "qemu-utils",
    "qemu-io": "qemu-utils",
    "qemu-nbd": "qemu-utils",
    "qemu-system-i386": "qemu-system-x86",
    "qemu-system-x86_64": "qemu-system-x86",
    "sg_decode_sense": "sg3-utils",
    "sg_inq": "sg3-utils",
    "sg_vpd": "sg3-utils",
    "syslinux": "syslinux",
    "xorriso": "xorriso",
}
"""Debian package that brings each tool; a tool not named here is its own package."""

SBIN: Final = ("/usr/sbin", "/sbin", "/usr/local/sbin")


class MissingError(Exception):
    """Something of the host that a test needs is not there; the message says how to get it."""


def missing(what: str) -> NoReturn:
    """End the running test: failed where `CI=true`, else skipped with `what` as the reason."""
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(f"CI=true, and this test cannot run: {what}", pytrace=False)
    pytest.skip(f"NOT RUN: {what}")


def require_tool(name: str) -> str:
    """Return the path of a host program, also one of an administrator's directories.

    Raises:
        MissingError: it is not installed.
    """
    found = shutil.which(name) or shutil.which(name, path=os.pathsep.join(SBIN))
    if found is None:
        raise MissingError(f"{name} is missing (Debian package {PACKAGES.get(name, name)})")
    return found


def require_file(path: str, package: str) -> Path:
    """Return `path` if the Debian package that brings it is installed.

    Raises:
        MissingError: it is not.
    """
    if not Path(path).is_file():
        raise MissingError(f"{path} is missing (Debian package {package})")
    return Path(path)


def run_tool(name: str, *arguments: str | Path, timeout_s: float = 120, status: int = 0) -> str:
    """Run a host program and return what it printed, both streams together.

    Raises:
        MissingError: it is not installed.
        AssertionError: its exit status is not `status`.
    """
    command = [require_tool(name), *map(str, arguments)]
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == status, f"{' '.join(command)}: status {done.returncode}\n{done.stdout}"
    return done.stdout
