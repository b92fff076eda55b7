"""What translation by patching says of itself: how many places it patched, in which ring blocks ran."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.guests.technique_rig import config_of, image_of, require_engine
from vmm.machine import Machine
from vmm.techniques.translation.patch import Patch

TURNS = 200  # of a loop in smc.asm that writes to the page it runs in

pytestmark = pytest.mark.guest


def test_a_place_patched_again_is_one_place_and_every_block_runs_at_ring_1(tmp_path: Path) -> None:
    require_engine("accelerated", "translation-patch")
    disk = tmp_path / "disk.img"
    disk.write_bytes(image_of("smc"))
    with Machine(config_of(disk, "translation-patch", "accelerated")) as machine:
        assert machine.run(timeout_s=60).reason == "exit"
        technique = machine.technique
        assert isinstance(technique, Patch)
        assert 5 < technique.patched_sites < TURNS
        assert technique.blocks_by_ring[1] == machine.exits["scan.block"].count > TURNS
        assert technique.blocks_by_ring[0] == technique.blocks_by_ring[2] == technique.blocks_by_ring[3] == 0
