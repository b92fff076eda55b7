"""The host's end of a serial or parallel port: standard output, a file, or a pseudo-terminal."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import tty
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vmm.clock import host_ns
from vmm.config import SerialConfig
from vmm.errors import ConfigError

if TYPE_CHECKING:
    from vmm.outputs import Output

STDOUT: Final = 1
READ_BYTES: Final = 256
PUMP_BYTES: Final = 256 << 10  # of one port's output at a time
DRAIN_NS: Final = 2_000_000_000  # how long nobody may take what is left at the end


class PortEnd:
    """The host's end of a serial port, or of the parallel port, which receives nothing."""

    def __init__(
        self, config: SerialConfig, output: Output, receive: Callable[[bytes], None], name: str
    ) -> None:
        self._source, self._receive = output, receive
        self._where = "standard output" if config.kind == "stdio" else f"{name} file:{config.path}"
        self._slave = self._output = -1
        self.input = -1
        self.written = 0
        if config.kind == "stdio":
            self._output = os.dup(STDOUT)
        elif config.kind == "file":
            self._output = _open_file(config.path or "", self._where)
        elif config.kind == "pty":
            self.input, self._slave = os.openpty()
            tty.setraw(self._slave)
            os.set_blocking(self.input, False)
            self._output = self.input
            print(f"trapline: {name} is {os.ttyname(self._slave)}", file=sys.stderr, flush=True)

    def pump(self) -> None:
        """Move new output of the guest out as far as it is taken, and from a pty input in."""
        self._move()
        if self.input >= 0:
            with contextlib.suppress(BlockingIOError):
                self._receive(os.read(self.input, READ_BYTES))

    def drain(self) -> None:
        """Move what is left, for as long as somebody takes it."""
        give_up = host_ns() + DRAIN_NS
        while self._output >= 0 and self.written < self._source.end and host_ns() < give_up:
            if self._move():
                give_up = host_ns() + DRAIN_NS
            else:
                select.select([], [self._output], [], 0.05)

    def _move(self) -> int:
        """Write what is new in pieces that cannot block, `PUMP_BYTES` at the most; return how many."""
        output, moved = self._source, 0
        if self._output < 0 or output.end <= self.written:
            return 0
        data = output.since(self.written)
        self.written = output.end - len(data)
        while moved < min(len(data), PUMP_BYTES) and select.select([], [self._output], [], 0)[1]:
            try:
                moved += os.write(self._output, data[moved : moved + select.PIPE_BUF])
            except BlockingIOError:  # nobody reads the pty, and the guest does not wait for them
                moved = len(data)
            except BrokenPipeError:
                raise
            except OSError as error:
                raise ConfigError(f"{self._where}: {error.strerror}") from None
        self.written += moved
        return moved

    def close(self) -> None:
        """Close what was opened. Idempotent."""
        for descriptor in {self._output, self.input, self._slave} - {-1}:
            os.close(descriptor)
        self._output = self.input = self._slave = -1


def _open_file(path: str, where: str) -> int:
    try:
        return os.open(Path(path), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    except OSError as error:
        raise ConfigError(f"{where}: {error.strerror}") from None
