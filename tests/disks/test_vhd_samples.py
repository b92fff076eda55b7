"""Images that other people's programs wrote open with the contents their manifest states.

They are not ours to keep, so they lie beside the project; without that folder nothing here is run.
"""

from __future__ import annotations

import gzip
import hashlib
import re
import shutil
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from disks.image import BlockImage
from disks.open import open_image
from disks.vhd.check import check_chain
from disks.vhd.check_rules import Severity
from disks.vhd.sparse import SparseVhd

SAMPLES: Final = Path(__file__).resolve().parents[3] / "shared" / "data" / "vhd"
_ROW: Final = re.compile(r"\| `([^`]+)` \| .* \| (\d+) \| (.+) \|$")
_PIECE_SECTORS: Final = 1 << 15

pytestmark = pytest.mark.skipif(
    not SAMPLES.is_dir(), reason="NOT RUN: no folder shared/data/vhd beside the project"
)


class Sample(NamedTuple):
    name: str
    size: int
    sha256: str


def manifest() -> list[Sample]:
    """Return the rows of the manifest; `as its parent` and `80a3... as above` mean the first digest."""
    if not SAMPLES.is_dir():
        return []
    rows = [_ROW.match(line) for line in (SAMPLES / "MANIFEST.md").read_text().splitlines()]
    found = [Sample(row[1], int(row[2]), row[3].strip()) for row in rows if row]
    first = found[0].sha256
    return [
        sample if re.fullmatch("[0-9a-f]{64}", sample.sha256) else sample._replace(sha256=first)
        for sample in found
    ]


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with copies of the samples, unpacked; only read."""
    home = tmp_path_factory.mktemp("samples")
    for path in SAMPLES.iterdir():
        if path.suffix == ".gz":
            with gzip.open(path) as packed, (home / path.stem).open("wb") as plain:
                shutil.copyfileobj(packed, plain)
        elif path.suffix == ".vhd":
            shutil.copy(path, home / path.name)
    return home


def digest(image: BlockImage) -> str:
    """Return the SHA-256 of what a guest sees."""
    total, found = image.size_bytes // 512, hashlib.sha256()
    for lba in range(0, total, _PIECE_SECTORS):
        found.update(image.read(lba, min(_PIECE_SECTORS, total - lba)))
    return found.hexdigest()


def test_the_manifest_names_every_sample() -> None:
    names = {path.name for path in SAMPLES.iterdir()} - {"MANIFEST.md"}
    assert {sample.name for sample in manifest()} == names


@pytest.mark.parametrize("sample", manifest(), ids=lambda sample: sample.name)
def test_contents_are_those_of_the_manifest(samples: Path, sample: Sample) -> None:
    image = open_image(samples / sample.name.removesuffix(".gz"), read_only=True)
    assert image.size_bytes == sample.size
    assert digest(image) == sample.sha256
    image.close()


@pytest.mark.parametrize("sample", manifest(), ids=lambda sample: sample.name)
def test_check_finds_no_error(samples: Path, sample: Sample) -> None:
    levels = check_chain(samples / sample.name.removesuffix(".gz"))
    assert [level.findings.number(Severity.ERROR) for level in levels] == [0] * len(levels)
    assert {rule for level in levels for rule in level.findings.counts} <= {
        "parent-odd",  # copied: its time is another
        "gap",
        "table-padding",
        "creator-host",
        "zeros-held",
    }


def test_the_child_of_windows_opens_on_its_parent(samples: Path) -> None:
    image = open_image(samples / "win8-child.vhd", read_only=True)
    assert isinstance(image, SparseVhd)
    assert [level.path.name for level in image.levels] == ["win8-child.vhd", "win8.vhd"]
    image.close()


def test_a_block_written_to_the_child_of_windows_leaves_its_locators(samples: Path, tmp_path: Path) -> None:
    shutil.copy(samples / "win8.vhd", tmp_path)
    path = Path(shutil.copy(samples / "win8-child.vhd", tmp_path))
    image = open_image(path)
    image.write(77, b"\x07" * 512)
    image.close()
    again = open_image(path, read_only=True)
    assert again.read(76, 3) == bytes(512) + b"\x07" * 512 + bytes(512)
    again.close()
    counts = check_chain(path)[0].findings.counts
    assert set(counts) <= {"parent-odd", "gap"}
