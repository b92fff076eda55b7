"""QEMU boots Snare from a differencing VHD, which it cannot read itself, through our NBD server."""

from __future__ import annotations

from pathlib import Path

import pytest

from guests.snare import snarefs
from tests.disks.conftest import make_child
from tests.disks.nbd.served import served
from tests.guests.assets.qemu import qemu
from tests.guests.assets.snare import LIMIT_S, PROMPT, medium

pytestmark = [pytest.mark.guest, pytest.mark.oracle]


def test_what_it_writes_is_in_the_child_and_only_there(tmp_path: Path) -> None:
    base = medium("hd", tmp_path)
    child = make_child(tmp_path / "child.vhd", make_child(tmp_path / "middle.vhd", base))
    before = {path: path.read_bytes() for path in (base, tmp_path / "middle.vhd")}
    with served(child) as server:
        with qemu("-drive", f"file={server.uri},format=raw,if=ide") as machine:
            machine.wait_for(PROMPT.encode(), LIMIT_S)
            machine.send(b"write there over NBD\nsync\n")
            machine.wait_for(PROMPT.encode(), LIMIT_S, machine.wait_for(b"sync", LIMIT_S))
        assert server.reports == []
    files = snarefs.load(child)[0]
    assert files.check() == []
    assert files.read("there") == b"over NBD\n"
    assert {path: path.read_bytes() for path in before} == before
