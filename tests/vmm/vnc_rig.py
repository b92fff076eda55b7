"""A VNC server on a free port of this host, and the clients that are not ours."""

from __future__ import annotations

import importlib.util
import select
import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Self

import numpy as np

from devices.keyboard import Keyboard
from devices.mouse import Mouse
from devices.vga import dispi as d
from devices.vga.adapter import Vga
from tests.oracles import MissingError
from vmm.clock import MachineClock, ManualTime, host_ns
from vmm.display import vnc
from vmm.display.rfb import Pixels

HANDSHAKE = b"RFB 003.008\n\x01\x01"
TEXT = 0x1_8000


def update_request(width: int = 8, height: int = 8, *, incremental: bool = False) -> bytes:
    return struct.pack(">BBHHHH", 3, incremental, 0, 0, width, height)


class Rig:
    """A server on a free port of this host, with a VGA in mode 3."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.time = ManualTime()
        clock = MachineClock(self.time)
        self.vga = Vga(clock)
        self.vga.set_text_mode_3()
        for cell, letter in enumerate(b"Hello, VNC"):
            self.vga.write(TEXT + cell * 2, 2, letter | (0x10 + cell) << 8)
        self.keyboard, self.mouse = Keyboard(clock), Mouse(clock)
        self.wait_fds: list[int] = []
        self.told: list[str] = []
        self.server = self.serve("127.0.0.1", 0, self.wait_fds)
        self.sockets: list[socket.socket] = []

    def serve(self, host: str, port: int, wait_fds: list[int]) -> vnc.VncServer:
        inputs = (self.keyboard, self.mouse)
        return vnc.VncServer((host, port), self.vga, inputs, wait_fds, lambda: self.now_ns, self.told.append)

    def show_noise(self, width: int, height: int) -> None:
        """Fill a linear frame buffer with dots of any colour: many bands, none of which compresses."""
        for index, value in (
            (d.X_RESOLUTION, width),
            (d.Y_RESOLUTION, height),
            (d.BITS, 32),
            (d.ENABLE, d.ENABLED | d.LINEAR),
        ):
            self.vga.dispi.bank.write(0, 2, index)
            self.vga.dispi.bank.write(1, 2, value)
        noise = np.random.default_rng(1).integers(0, 256, width * height * 4, dtype=np.uint8)
        self.vga.frame_buffer[: len(noise)] = noise.tobytes()

    def connect(self, data: bytes = b"") -> socket.socket:
        client = socket.create_connection(self.server.address, timeout=5)
        self.sockets.append(client)
        client.sendall(data)
        self.pump()
        return client

    def pump(self, times: int = 4) -> None:
        for _ in range(times):
            self.now_ns += vnc.FRAME_NS
            self.server.pump()

    def pump_until(self, done: Callable[[], bool]) -> None:
        give_up = host_ns() + 60_000_000_000
        while not done():
            assert host_ns() < give_up
            select.select(self.wait_fds, [], [], 0.005)  # the client needs the processor, too
            self.now_ns = host_ns()
            self.server.pump()

    @property
    def clients(self) -> int:
        return len(self.wait_fds) - 1

    def close(self) -> None:
        self.server.close()
        for client in self.sockets:
            client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def run_client(rig: Rig, *command: str | Path) -> None:
    with subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as client:
        try:
            rig.pump_until(lambda: client.poll() is not None)
        finally:
            client.kill()
        assert client.stdout is not None
        assert client.returncode == 0, client.stdout.read()


def vncdo(rig: Rig, *actions: str | Path) -> None:
    tool = Path(sys.executable).parent / "vncdo"
    if not tool.is_file():
        raise MissingError("vncdo is missing (pip install vncdotool)")
    run_client(rig, tool, "-s", f"127.0.0.1::{rig.server.address[1]}", *actions)


POINTER = """
import sys
from vncdotool import api
client = api.connect(sys.argv[1])
for line in sys.stdin:
    action, *numbers = line.split()
    getattr(client, action)(*map(int, numbers))
"""


class Pointer:
    """A client of vncdotool's that does one thing after the other, as it is told, until it is closed."""

    def __init__(self, address: tuple[str, int]) -> None:
        if importlib.util.find_spec("vncdotool") is None:
            raise MissingError("vncdotool is missing (pip install vncdotool)")
        command = [sys.executable, "-c", POINTER, "::".join(map(str, address))]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, text=True)

    def do(self, action: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(action + "\n")
        self._process.stdin.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.kill()
        self._process.stdin.close()
        self._process.wait()


def pixels_of(path: Path) -> Pixels:
    from PIL import Image

    with Image.open(path) as image:
        return np.array(image.convert("RGB"))
