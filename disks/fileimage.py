"""What images that lie in one file have in common."""

from __future__ import annotations

from pathlib import Path

from disks.hostfile import ByteFile


class FileImage:
    """Owns the file; `_finish` is what is left to do before it is released."""

    def __init__(self, file: ByteFile) -> None:
        self._file = file
        self._closed = False

    @property
    def file(self) -> ByteFile:
        """The file itself. It belongs to the image."""
        return self._file

    @property
    def path(self) -> Path:
        """Where the image lies on the host."""
        return self._file.path

    @property
    def read_only(self) -> bool:
        """Whether `write` is refused."""
        return self._file.read_only

    def close(self) -> None:
        """Finish and release the file. Idempotent."""
        if self._closed:
            return
        self._closed = True
        try:
            self._finish()
        finally:
            self._file.close()

    def _finish(self) -> None:
        raise NotImplementedError
