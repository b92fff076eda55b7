"""libvhdi reads what we write, within its known bugs.

After a sector whose bit is set it takes the rest of the bitmap's byte for set, so children are written in
groups of eight sectors here. With blocks of 512 KiB it shows zeros from 2 MiB on, where 7-Zip and QEMU read
the data, so blocks are of 2 MiB here.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from disks.open import open_image
from tests.disks.conftest import make_child
from tests.oracles import MissingError

pytestmark = pytest.mark.oracle
MakeVhd = Callable[..., Path]
SIZE = 5 * (1 << 20) + 4096 * 3


def scribble_in_groups(path: Path, seed: int) -> bytes:
    """Write random runs of whole groups of eight sectors and return what the image must hold."""
    chance = random.Random(seed)
    image = open_image(path)
    model = bytearray(image.read(0, image.size_bytes // 512))
    for _ in range(30):
        lba, sectors = chance.randrange(SIZE // 4096 - 20) * 8, chance.choice((8, 16, 160))
        data = chance.randbytes(sectors * 512)
        image.write(lba, data)
        model[lba * 512 : lba * 512 + len(data)] = data
    image.close()
    return bytes(model)


def libvhdi(chain: list[Path]) -> bytes:
    """Return the contents of a chain, its base first, as libvhdi reads it."""
    try:
        import pyvhdi
    except ImportError:
        raise MissingError("libvhdi is missing (pip install libvhdi-python)") from None
    files = []
    for path in chain:
        file = pyvhdi.file()
        file.open(str(path))
        if files:
            file.set_parent(files[-1])
        files.append(file)
    contents: bytes = files[-1].read_buffer_at_offset(files[-1].get_media_size(), 0)
    for file in reversed(files):
        file.close()
    return contents


@pytest.mark.parametrize("fixed", [True, False])
def test_libvhdi_reads_a_single_image(make_vhd: MakeVhd, fixed: bool) -> None:
    path = make_vhd(SIZE, fixed=fixed)
    expected = scribble_in_groups(path, seed=fixed)
    assert libvhdi([path]) == expected


@pytest.mark.parametrize("depth", [2, 3, 5])
def test_libvhdi_reads_a_chain(make_vhd: MakeVhd, tmp_path: Path, depth: int) -> None:
    chain = [make_vhd(SIZE, name="level0.vhd")]
    expected = scribble_in_groups(chain[0], seed=depth)
    for level in range(1, depth):
        chain.append(make_child(tmp_path / f"level{level}.vhd", chain[-1]))
        expected = scribble_in_groups(chain[-1], seed=depth * 10 + level)
    assert libvhdi(chain) == expected
