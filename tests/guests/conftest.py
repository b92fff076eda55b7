"""Fixtures for guests: each firmware, each engine."""

from __future__ import annotations

import pytest

from tests.guests.assets.machines import Firmware


@pytest.fixture(params=["ours", "seabios"])
def firmware(request: pytest.FixtureRequest) -> Firmware:
    """Our firmware, then Debian's SeaBIOS: the fields of MachineConfig that ask for it."""
    if request.param == "ours":
        return {}
    bios, vgabios = request.getfixturevalue("seabios"), request.getfixturevalue("vgabios")
    return {"bios": str(bios), "vgabios": str(vgabios)}


@pytest.fixture(params=["portable", "accelerated"])
def engine(request: pytest.FixtureRequest) -> str:
    """Each engine's name."""
    name: str = request.param
    return name if name == "portable" else str(request.getfixturevalue("accelerated"))
