"""A merge cut off anywhere: the child reads as before, and merging again finishes."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from random import Random

import pytest

from disks.errors import DiskError
from disks.vhd import layout
from disks.vhd.footer import Footer
from disks.vhd.layers import resolve
from disks.vhd.merge import merge_into, volume
from disks.vhd.opening import open_level
from disks.vhd.sparse import SparseVhd, VhdImage
from tests.disks.crash_recorder import RecordingFile
from tests.disks.small_images import BASE_ID, BLOCK, PER_BLOCK, blank

BLOCKS = 12
SECTORS = BLOCKS * PER_BLOCK
KINDS = ("fixed", "dynamic", "differencing")  # of the image merged into


def fixed() -> bytes:
    """Return an empty fixed disk."""
    size = BLOCKS * BLOCK
    footer = Footer.new(layout.TYPE_FIXED, size, datetime(2026, 1, 1, tzinfo=UTC), BASE_ID)
    return bytes(size) + footer.to_bytes()


def chain(kind: str, above: int, seed: int) -> tuple[list[bytes], int]:
    """Return the files of a chain with random contents, the base first, and which one is merged into."""
    chance = Random(seed)
    files = [RecordingFile(fixed() if kind == "fixed" else blank(BLOCKS))]
    index = int(kind == "differencing")
    files += [RecordingFile(blank(BLOCKS, uuid.UUID(int=at + 1))) for at in range(index + above)]
    for top in range(1, len(files) + 1):
        image = stacked(files[:top])
        for _ in range(BLOCKS // 2):
            sectors = chance.choice((1, 1, 2, PER_BLOCK, 11))
            data = bytes(512 * sectors) if chance.random() < 0.2 else chance.randbytes(512 * sectors)
            image.write(chance.randrange(SECTORS - sectors), data)
        image.close()
    return [bytes(file.contents) for file in files], index


def stacked(files: Sequence[RecordingFile]) -> VhdImage:
    """Return the chain that lies in the files, the base first."""
    image = open_level(files[0])
    for file in files[1:]:
        child = open_level(file)
        assert isinstance(child, SparseVhd)
        child.stand_on(image)
        image = child
    return image


def contents(files: Sequence[bytes]) -> bytes:
    return stacked([RecordingFile(file) for file in files]).read(0, SECTORS)


def upper(files: Sequence[bytes]) -> VhdImage:
    return stacked([RecordingFile(file) for file in files])


class Matrix:
    """A chain, and the merge of all that lies behind one of its files into that."""

    def __init__(self, kind: str, above: int, seed: int) -> None:
        self.files, self.index = chain(kind, above, seed)
        self.expected = contents(self.files)
        self.below = upper(self.files[: self.index]) if self.index else None
        self.levels = upper(self.files[self.index + 1 :]).levels

    def target(self, state: bytes) -> VhdImage:
        """Return the image merged into, as a crash left it, on what it stands on."""
        image = open_level(RecordingFile(state))
        if self.below is not None:
            assert isinstance(image, SparseVhd)
            image.stand_on(self.below)
        return image

    def child_reads_as_before(self, target: VhdImage) -> bool:
        found = b""
        for extent in resolve([*self.levels, *target.levels], 0, SECTORS):
            length = extent.sectors * 512
            found += extent.file.read_at(extent.offset, length) if extent.file else bytes(length)
        return found == self.expected

    def merged(self, state: bytes) -> RecordingFile:
        """Merge into the image and return its file, with how it was written."""
        file = RecordingFile(state)
        merge_into(self.levels[0], open_level(file))
        return file

    def bad_states(self, most_subsets: int) -> tuple[int, int]:
        """Return (states a crash may leave, those where the child reads otherwise or no merge follows)."""
        states = bad = 0
        for _, state in self.merged(self.files[self.index]).crashes(most_subsets):
            states += 1
            try:
                good = self.child_reads_as_before(self.target(state))
                again = self.target(bytes(self.merged(state).contents))
                bad += not good or again.read(0, SECTORS) != self.expected
            except DiskError:
                bad += 1
        return states, bad


def run_matrix(kind: str, above: int, seed: int, most_subsets: int) -> int:
    states, bad = Matrix(kind, above, seed).bad_states(most_subsets)
    print(f"crash matrix: merge of {above} into {kind}, seed {seed}: {states} states, {bad} bad")
    assert bad == 0
    return states


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("above", [1, 3])
def test_the_child_reads_the_same_after_any_crash_and_merging_again_finishes(kind: str, above: int) -> None:
    assert run_matrix(kind, above, seed=above, most_subsets=32) > 50


@pytest.mark.verify
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("above", [2, 3])
def test_the_child_reads_the_same_after_any_crash_at_length(kind: str, above: int) -> None:
    assert run_matrix(kind, above, seed=100 + above, most_subsets=1 << 12) > 500


def test_without_syncs_the_matrix_finds_bad_states(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RecordingFile, "sync", lambda self: None)
    assert Matrix("differencing", 2, seed=1).bad_states(64)[1] > 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("above", [1, 3])
def test_an_interruption_at_any_report_of_progress_leaves_a_merge_that_can_be_finished(
    kind: str, above: int
) -> None:
    matrix = Matrix(kind, above, seed=7)
    start = matrix.files[matrix.index]
    reports: list[int] = []
    merge_into(matrix.levels[0], open_level(RecordingFile(start)), reports.append)
    assert reports[-1] == volume(matrix.levels[0], None).held_bytes
    assert len(reports) > 4
    for stop in reports:

        def interrupt(done: int, stop: int = stop) -> None:
            if done == stop:
                raise KeyboardInterrupt

        file = RecordingFile(start)
        image = open_level(file)
        with pytest.raises(KeyboardInterrupt):
            merge_into(matrix.levels[0], image, interrupt)
        image.close()
        assert matrix.child_reads_as_before(matrix.target(bytes(file.contents)))
        again = matrix.merged(bytes(file.contents))
        assert matrix.target(bytes(again.contents)).read(0, SECTORS) == matrix.expected
