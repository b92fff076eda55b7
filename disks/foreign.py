"""Images of other programs' formats, translated from and to raw by qemu-img.

An image of these formats can name further files (a backing file, a data file, the extents of a
VMDK), and images are downloaded: each file named must be a plain file in an allowed directory before
qemu-img is let at it. It opens the extents of a VMDK at once, so those names are read here first.

Sources:
    [qemu-img] qemu-img(1): `convert`, `info --output=json`.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from disks.errors import DiskError, ParentError
from disks.vhd.parents import MAX_DEPTH, OWN_DIRECTORY, ParentRules
from disks.vmdk import extent_names
from disks.words import how_to_allow, printable

READABLE: Final = ("qcow2", "vmdk", "vdi", "vhdx", "qed", "parallels")
WRITABLE: Final = ("qcow2", "vmdk", "vdi", "vhdx")
_TOOL: Final = "qemu-img"
_PATIENCE_S: Final = 60.0  # for looking at headers
_MOST_EXTENTS: Final = 4096  # of 2 GB each
_PROTOCOL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


def conversion(source: Path, source_driver: str, target: Path, target_driver: str) -> list[str]:
    """Return the command that makes `target` of `source`; either driver is "raw" or a foreign one."""
    # Absolute, so that no name is taken for an option or a protocol
    paths = [str(source.absolute()), str(target.absolute())]
    return [_TOOL, "convert", "-f", source_driver, "-O", target_driver, *paths]


def run(command: Sequence[str]) -> None:
    """Run a `conversion`; raise DiskError with what it said when it fails."""
    _output(command)


def require() -> None:
    """Raise DiskError unless qemu-img is installed."""
    if shutil.which(_TOOL) is None:
        raise DiskError(f"other formats than raw and VHD need {_TOOL}: install it (Debian: qemu-utils)")


def inspect(path: Path, driver: str, rules: ParentRules = OWN_DIRECTORY) -> int:
    """Return the size the guest sees; raise ParentError for an image that stands on a forbidden file."""
    roots = rules.under(path).allow_roots
    image, size = path, None
    for _ in range(MAX_DEPTH):
        if driver == "vmdk":
            _check_extents(image, roots)
        command = [_TOOL, "info", "--output=json", "-f", driver, str(image.absolute())]
        facts = json.loads(_output(command, _PATIENCE_S))
        size = size or int(facts["virtual-size"])
        for name in _references(facts):
            _check_place(path, name, roots)
        backing = facts.get("full-backing-filename")
        if backing is None:
            return size
        image, driver = Path(backing), facts.get("backing-filename-format", "")
        if not driver:
            raise ParentError(path, f"its backing file {backing} has no format noted, and guessing is unsafe")
    raise ParentError(path, f"the chain of backing files is deeper than {MAX_DEPTH} images")


def _check_extents(image: Path, roots: tuple[Path, ...]) -> None:
    """Check the extents of a VMDK, which may be descriptors themselves."""
    waiting, seen = [image], {image.resolve()}
    while waiting:
        descriptor = waiting.pop()
        for name in extent_names(descriptor, is_extent=descriptor is not image):
            _check_place(descriptor, name, roots)
            extent = (descriptor.parent / name).resolve()
            if extent not in seen and extent.exists():
                seen.add(extent)
                waiting.append(extent)
        if len(seen) > _MOST_EXTENTS:
            raise ParentError(image, f"it has more than {_MOST_EXTENTS} extents")


def _references(facts: dict[str, Any]) -> Iterator[str]:
    """Yield the files an image names, as `qemu-img info` tells them."""
    if "backing-filename" in facts:
        yield facts.get("full-backing-filename", facts["backing-filename"])
    data = facts.get("format-specific", {}).get("data", {})
    if "data-file" in data:
        yield data["data-file"]
    for extent in data.get("extents", []):
        yield extent["filename"]


def _check_place(image: Path, name: str, roots: tuple[Path, ...]) -> None:
    if _PROTOCOL.match(name):
        raise ParentError(image, f"it stands on {name!r}, which is no plain file")
    real = (image.parent / name).resolve()
    if not any(real.is_relative_to(root) for root in roots):
        what = f"it stands on {printable(real)}, outside the allowed directories"
        raise ParentError(image, what, (), how_to_allow(real))
    if real.exists() and not (real.is_file() or real.is_block_device()):
        raise ParentError(image, f"it stands on {printable(real)}, which is no plain file")


def _output(command: Sequence[str], patience_s: float | None = None) -> str:
    require()
    try:
        done = subprocess.run(  # noqa: S603 - our words and absolute paths
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=patience_s,
        )
    except subprocess.TimeoutExpired:
        raise DiskError(f"{' '.join(command)}: no answer after {patience_s:g} seconds") from None
    if done.returncode:
        said = done.stderr.strip() or f"status {done.returncode}"
        raise DiskError(f"{' '.join(command)}: {said}")
    return done.stdout
