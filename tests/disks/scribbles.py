"""Random contents, written to an image and to a model of it; and 7-Zip's reading of an image."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

from disks.open import open_image
from tests.oracles import require_tool


def scribble(path: Path, seed: int, writes: int = 40) -> bytes:
    """Write random runs of sectors to an image, zeros among them, and return what it must hold."""
    chance = random.Random(seed)
    image = open_image(path)
    model = bytearray(image.read(0, image.size_bytes // 512))
    for _ in range(writes):
        sectors = chance.choice((1, 3, 8, 64, 700))
        lba = chance.randrange(image.size_bytes // 512 - sectors)
        data = bytes(sectors * 512) if chance.random() < 0.2 else chance.randbytes(sectors * 512)
        image.write(lba, data)
        model[lba * 512 : lba * 512 + len(data)] = data
    image.close()
    return bytes(model)


def contents_of(path: Path) -> bytes:
    """Return the whole disk as we read it."""
    image = open_image(path, read_only=True)
    try:
        return image.read(0, image.size_bytes // 512)
    finally:
        image.close()


def seven_zip(path: Path) -> bytes:
    """Return the contents of an image as 7-Zip reads it."""
    command = [require_tool("7zz"), "x", "-tvhd", "-so", str(path)]
    return subprocess.run(command, check=True, capture_output=True, timeout=60).stdout
