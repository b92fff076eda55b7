"""QEMU's translator (TCG) as the yardstick: the same guest, its serial port on a pipe."""

from __future__ import annotations

import os
import selectors
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.oracles import require_tool

PROGRAMS: Final = {"i386": "qemu-system-i386", "amd64": "qemu-system-x86_64"}
PROCESSORS: Final = {"i386": "pentium3", "amd64": "qemu64"}


class QemuGuest:
    """One run of QEMU: a PC of the i440FX kind with COM1 and nothing that was not asked for."""

    def __init__(self, *arguments: str | Path, architecture: str = "i386", memory_mib: int = 256) -> None:
        self.output = bytearray()
        self._process = subprocess.Popen(
            [
                require_tool(PROGRAMS[architecture]),
                *("-accel", "tcg", "-M", "pc", "-cpu", PROCESSORS[architecture]),
                *("-m", str(memory_mib), "-nodefaults", "-display", "none"),
                *("-serial", "stdio", "-no-reboot"),
                *map(str, arguments),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
        )
        assert self._process.stdout is not None
        self._stdout = self._process.stdout.fileno()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._stdout, selectors.EVENT_READ)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def wait_for(self, text: bytes, timeout_s: float, start: int = 0) -> int:
        """Return where the output has `text`, at `start` or after, once it does.

        Raises:
            AssertionError: it did not come in time, or QEMU ended without it.
        """
        end = time.monotonic() + timeout_s
        while (at := self.output.find(text, start)) < 0:
            ready = self._selector.select(max(0.0, end - time.monotonic()))
            data = os.read(self._stdout, 65536) if ready else b""
            self.output += data
            assert data, f"no {text!r} in {timeout_s} s; the end: {bytes(self.output[-1500:])!r}"
        return at

    def send(self, data: bytes) -> None:
        """Type `data` on the guest's serial port."""
        assert self._process.stdin is not None
        self._process.stdin.write(data)

    def close(self) -> None:
        """End QEMU, letting it close its disk images."""
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._selector.close()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()


def linux_arguments(kernel: Path, initramfs: Path, command_line: str) -> list[str | Path]:
    """Return the options by which QEMU loads a kernel itself, with no boot disk."""
    return ["-kernel", kernel, "-initrd", initramfs, "-append", command_line]


def ide_disk(image: Path, kind: str = "vpc", index: int = 0) -> list[str | Path]:
    """Return the options that attach an image as an IDE disk."""
    return ["-drive", f"file={image},format={kind},if=ide,index={index}"]
