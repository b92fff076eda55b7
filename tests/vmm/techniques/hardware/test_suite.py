"""What the two engines' own tests ask of a processor holds for a guest under hardware assistance."""

from __future__ import annotations

import pytest

from tests.vmm.cpu.engine_rig import Rig, both_engines, long, run
from tests.vmm.cpu.test_engine_interrupts import *  # noqa: F403
from tests.vmm.cpu.test_engine_io_permission import *  # noqa: F403
from tests.vmm.cpu.test_engine_long import *  # noqa: F403
from tests.vmm.cpu.test_engine_memory import *  # noqa: F403
from tests.vmm.cpu.test_engine_protected import *  # noqa: F403
from tests.vmm.cpu.test_engine_state import *  # noqa: F403
from tests.vmm.cpu.test_engine_state import DIRTY, expected_reset_state, reset_state
from tests.vmm.cpu.test_engine_stepping import *  # noqa: F403
from tests.vmm.cpu.test_engine_stops import *  # noqa: F403
from tests.vmm.cpu.test_engine_syscall import *  # noqa: F403
from vmm.techniques.hardware.technique import HardwareNested, HardwareShadow

pytestmark = [both_engines, pytest.mark.verify]  # a minute for each of the three


@pytest.fixture(autouse=True, params=[HardwareNested, HardwareShadow], ids=["nested", "shadow"])
def under_hardware(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, engine: str) -> None:
    if engine == "portable" and request.param is HardwareShadow:
        pytest.skip("shadow paging needs the accelerated engine")
    monkeypatch.setattr(Rig, "kind", request.param)


def test_a_reset_from_long_mode_leaves_nothing_behind(engine: str) -> None:
    rig = run(engine, long(DIRTY))
    rig.processor.reset()
    rig.technique.start()
    assert reset_state(rig) == expected_reset_state()
