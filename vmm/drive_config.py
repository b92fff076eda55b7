"""The image behind a drive of any kind, and a drive of the IDE or the floppy controller, as configured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, Self

import msgspec

from vmm.config_checks import check_choice

ImageFormatName = Literal["raw", "vhd"]
SyncName = Literal["always", "on-flush", "never"]

IMAGE_FORMATS: Final = ("raw", "vhd")
SYNC_POLICIES: Final = ("always", "on-flush", "never")
IMAGE_OPTIONS: Final = {"format": IMAGE_FORMATS, "sync": SYNC_POLICIES, "parent-writable": ("yes", "no")}
"""What may follow the path of a disk, and the values each takes."""


def split_options(text: str, allowed: Mapping[str, Sequence[str]]) -> tuple[str, dict[str, str]]:
    """Return path and options of `PATH,OPTION=VALUE...`; a comma before anything else is the path's."""
    path = text
    given: dict[str, str] = {}
    while True:
        rest, _, option = path.rpartition(",")
        name, equals, value = option.partition("=")
        if not (rest and equals and name in allowed):
            return path, given
        check_choice(name, value, allowed[name])
        path, given[name] = rest, value


def image_fields(given: dict[str, str]) -> dict[str, Any]:
    """Return what the options say as fields of an `ImageConfig`."""
    return {
        "format": given.get("format"),
        "sync": given.get("sync", "on-flush"),
        "parent_writable": given.get("parent-writable") == "yes",
    }


class ImageConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The image of a drive, and how it is opened.

    With `snapshot` writes are kept aside and dropped at the end. `format` None means that of its
    contents, which a guest may have made look like another. `sync` says when what is written is
    durable. A VHD on which others in its directory stand is only written if `parent_writable`.
    """

    path: str
    read_only: bool = False
    snapshot: bool = False
    format: ImageFormatName | None = None
    sync: SyncName = "on-flush"
    parent_writable: bool = False


class DriveConfig(ImageConfig, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A disk or CD on the IDE controller, or a floppy disk.

    `index` is 0 to 3: primary master, primary slave, secondary master, secondary slave; None lets
    `MachineConfig.with_places` choose. Floppy disks go by their order and have none.
    """

    index: int | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `PATH` and what may follow it in any order, such as `,format=raw,sync=never`."""
        path, given = split_options(text, IMAGE_OPTIONS)
        return cls(path=path, **image_fields(given))
