"""The crash matrix of guest writes: random histories, every crash they may suffer, one rule.

Each sector is old or new, and what was flushed is new.
"""

from __future__ import annotations

from random import Random

import pytest

from disks.errors import DiskError
from disks.sync import SyncPolicy
from tests.disks.crash_recorder import RecordingFile
from tests.disks.small_images import BASE_ID, PER_BLOCK, blank, filled, open_small

BLOCKS = 12
SECTORS = BLOCKS * PER_BLOCK


class Matrix:
    """An image under random writes and flushes, and what each sector may hold in each epoch."""

    def __init__(self, seed: int, *, child: bool, sync: SyncPolicy) -> None:
        self.chance = Random(seed)
        self.parent, old = filled(BLOCKS, seed) if child else (None, bytes(SECTORS * 512))
        self.file = RecordingFile(blank(BLOCKS, BASE_ID if child else None))
        self.image = open_small(self.file, self.parent, sync)
        self.versions: list[list[tuple[int, bytes]]] = [
            [(0, old[at * 512 : at * 512 + 512])] for at in range(SECTORS)
        ]  # (epoch it was written in, contents), oldest first
        self.durable: list[list[tuple[int, int]]] = [[(0, 0)] for _ in range(SECTORS)]  # (epoch, version)
        self.always = sync is SyncPolicy.ALWAYS

    @property
    def epoch(self) -> int:
        return len(self.file.epochs) - 1

    def write(self) -> None:
        sectors = self.chance.choice((1, 1, 2, PER_BLOCK, 11))
        lba = self.chance.randrange(SECTORS - sectors)
        zeros = self.chance.random() < 0.2
        data = bytes(512 * sectors) if zeros else self.chance.randbytes(512 * sectors)
        before = self.epoch
        self.image.write(lba, data)
        for at in range(sectors):
            self.versions[lba + at].append((before, data[at * 512 : at * 512 + 512]))
        if self.always:
            self._note_durable()

    def flush(self) -> None:
        self.image.flush()
        self._note_durable()

    def close(self) -> None:
        self.image.close()
        self._note_durable()

    def _note_durable(self) -> None:
        for lba in range(SECTORS):
            self.durable[lba].append((self.epoch, len(self.versions[lba]) - 1))

    def allowed(self, epoch: int, lba: int) -> set[bytes]:
        """Return what the sector may hold when the crash comes in `epoch`."""
        least = max(version for since, version in self.durable[lba] if since <= epoch)
        return {data for since, data in self.versions[lba][least:] if since <= epoch}

    def bad_states(self, most_subsets: int) -> tuple[int, int]:
        """Open the image after every crash; return (states tried, those that break the rule)."""
        states = bad = 0
        allowed: dict[int, list[set[bytes]]] = {}
        for epoch, contents in self.file.crashes(most_subsets):
            rule = allowed.setdefault(epoch, [self.allowed(epoch, lba) for lba in range(SECTORS)])
            states += 1
            try:
                disk = open_small(RecordingFile(contents), self.parent).read(0, SECTORS)
            except DiskError:
                bad += 1
                continue
            bad += any(disk[at * 512 : at * 512 + 512] not in rule[at] for at in range(SECTORS))
        return states, bad


def run_matrix(seed: int, *, child: bool, sync: SyncPolicy, most_subsets: int, steps: int) -> int:
    matrix = Matrix(seed, child=child, sync=sync)
    for _ in range(steps):
        matrix.write()
        if matrix.chance.random() < 0.3:
            matrix.flush()
    matrix.close()
    states, bad = matrix.bad_states(most_subsets)
    kind = "child" if child else "dynamic"
    print(f"crash matrix: guest writes, {kind}, sync {sync.value}, seed {seed}: {states} states, {bad} bad")
    assert bad == 0
    return states


@pytest.mark.quick(
    "0-False-SyncPolicy.ON_FLUSH",
    "1-False-SyncPolicy.ALWAYS",
    "2-True-SyncPolicy.ON_FLUSH",
    "0-True-SyncPolicy.ALWAYS",
)
@pytest.mark.parametrize("sync", [SyncPolicy.ON_FLUSH, SyncPolicy.ALWAYS])
@pytest.mark.parametrize("child", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_no_crash_spoils_a_sector(seed: int, child: bool, sync: SyncPolicy) -> None:
    assert run_matrix(seed, child=child, sync=sync, most_subsets=64, steps=12) > 100


@pytest.mark.verify
@pytest.mark.parametrize("sync", [SyncPolicy.ON_FLUSH, SyncPolicy.ALWAYS])
@pytest.mark.parametrize("child", [False, True])
@pytest.mark.parametrize("seed", range(100, 103))
def test_no_crash_spoils_a_sector_at_length(seed: int, child: bool, sync: SyncPolicy) -> None:
    least = 150 if sync is SyncPolicy.ALWAYS else 1000  # few writes lie between two syncs
    assert run_matrix(seed, child=child, sync=sync, most_subsets=1 << 12, steps=25) > least


def test_with_every_other_sync_lost_the_matrix_finds_bad_states(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = Matrix(1, child=True, sync=SyncPolicy.ON_FLUSH)
    syncs = iter([False, True] * 10_000)
    sync = matrix.file.sync
    monkeypatch.setattr(matrix.file, "sync", lambda: sync() if next(syncs) else None)
    for _ in range(12):
        matrix.write()
        matrix.flush()
    assert matrix.bad_states(64)[1] > 0
