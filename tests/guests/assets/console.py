"""A monitor as a child process, its guest's serial port on the child's standard streams."""

from __future__ import annotations

import os
import selectors
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

END_TIMEOUT_S: Final = 60
SHOWN_BYTES: Final = 1500


class ConsoleProcess:
    """A running command that a test talks with; it inherits `files`. `output` is all it has printed."""

    def __init__(
        self, command: Sequence[str | Path], cwd: Path | None = None, files: Sequence[int] = ()
    ) -> None:
        self.output = bytearray()
        self._process = subprocess.Popen(
            command,
            cwd=cwd,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
            pass_fds=files,
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

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    def wait_for(self, text: bytes, timeout_s: float, start: int = 0) -> int:
        """Return where the output has `text`, at `start` or after, once it does.

        Raises:
            AssertionError: it did not come in time, or the process ended without it.
        """
        end = time.monotonic() + timeout_s
        while (at := self.output.find(text, start)) < 0:
            data = self._receive(end)
            assert data, f"no {text!r} in {timeout_s} s; the end: {bytes(self.output[-SHOWN_BYTES:])!r}"
        return at

    def wait_for_end(self, timeout_s: float) -> int:
        """Return the exit status once the process has ended by itself.

        Raises:
            subprocess.TimeoutExpired: it has not.
        """
        end = time.monotonic() + timeout_s
        while self._receive(end):
            pass
        return self._process.wait(max(0.1, end - time.monotonic()))

    def send(self, data: bytes) -> None:
        """Type `data` on the guest's serial port."""
        assert self._process.stdin is not None
        self._process.stdin.write(data)

    def close(self) -> None:
        """End the process, letting it close its disk images."""
        self._process.terminate()
        try:
            self._process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._selector.close()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()

    def _receive(self, end: float) -> bytes:
        """Return what came until `end` of the monotonic clock; nothing at the end of the stream too."""
        ready = self._selector.select(max(0.0, end - time.monotonic()))
        data = os.read(self._stdout, 65536) if ready else b""
        self.output += data
        return data
