"""Errors about disk images, for the user: what, where (path, offset), what to do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final


class DiskError(Exception):
    """Base of every error about a disk image."""


HOST_ERRORS: Final = (OSError, DiskError)
"""What an access to an open image may raise: the host's fault or the image's, never the guest's."""


class ImageFormatError(DiskError):
    """A file is not what it claims to be. `offset` is in bytes from the start of the file."""

    def __init__(
        self, path: Path | str, offset: int, field: str, expected: object, found: object, hint: str = ""
    ) -> None:
        message = f"{path}: at offset {offset:#x}, {field}: expected {expected}, found {found}"
        super().__init__(f"{message}. {hint}" if hint else message)
        self.path, self.offset, self.field = path, offset, field
        self.expected, self.found = expected, found

    def with_hint(self, hint: str) -> ImageFormatError:
        """Return the same error with what it probably means."""
        return ImageFormatError(self.path, self.offset, self.field, self.expected, self.found, hint)


class ReadOnlyError(DiskError):
    """A write to an image that was opened for reading."""

    def __init__(self, path: Path | str) -> None:
        super().__init__(f"{path}: the image is open read-only")


class UnsupportedImageError(DiskError):
    """An image of a known format that cannot be used, with what it is and what to do instead.

    `driver` is what qemu-img calls the format, empty for what it cannot read either.
    """

    def __init__(self, path: Path | str, what: str, hint: str = "", driver: str = "") -> None:
        super().__init__(f"{path}: {what}. {hint}" if hint else f"{path}: {what}")
        self.path, self.what, self.driver = path, what, driver


class UnclearFormatError(UnsupportedImageError):
    """A file that has the footer of a VHD, but not the name of one."""

    def __init__(self, path: Path | str) -> None:
        super().__init__(
            path,
            "has the footer of a VHD, which the guest of a raw disk can write, but no such name",
            f"Say what it is: --hd {path},format=raw or format=vhd, or, in disk convert, --from-format; or "
            "rename it to .vhd if it is one",
        )


class ImageBusyError(DiskError):
    """Somebody else holds the image in a way that excludes us."""

    def __init__(self, path: Path | str, read_only: bool) -> None:
        holder = "opened for writing" if read_only else "in use"
        super().__init__(f"{path}: the image is {holder} by another machine or program")
        self.path = path


class ParentError(DiskError):
    """The parent of a differencing image cannot be used: which image, what was tried, what to do."""

    def __init__(self, path: Path | str, what: str, tried: Sequence[str] = (), hint: str = "") -> None:
        parts = [f"{path}: {what}", *(f"  tried {line}" for line in tried), *([hint] if hint else [])]
        super().__init__("\n".join(parts) if tried else ". ".join(parts))
        self.path, self.what, self.tried, self.hint = path, what, tuple(tried), hint
