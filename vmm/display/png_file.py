"""A PNG file that follows the screen: rewritten when the picture has changed, at most once a second."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

from devices.vga.adapter import Vga
from vmm.display.png import encode_png
from vmm.display.screenshot import Pixels, draw

INTERVAL_NS: Final = 1_000_000_000


class PngFile:
    """Keeps `path` as the screen of `vga`; who reads it finds a whole picture, the old one or the new."""

    def __init__(self, vga: Vga, path: Path, now_ns: Callable[[], int]) -> None:
        self._vga, self._path, self._now_ns = vga, path, now_ns
        self._next_ns = 0
        self._shown: Pixels | None = None

    def refresh(self, *, force: bool = False) -> None:
        """Rewrite the file if it is time and anything has changed."""
        now_ns = self._now_ns()
        if now_ns < self._next_ns and not force:
            return
        self._next_ns = now_ns + INTERVAL_NS
        picture = draw(self._vga)
        if self._shown is not None and np.array_equal(picture, self._shown):
            return
        self._shown = picture
        new = self._path.with_name(f".{self._path.name}.new")
        try:
            new.write_bytes(encode_png(picture))
            new.replace(self._path)
        finally:
            new.unlink(missing_ok=True)
