"""The short way of CLI and STI is taken only by a processor whose `change_if` it says everything of."""

from __future__ import annotations

from vmm.techniques.para.cpu import ParaCpu
from vmm.techniques.virtual_cpu import VirtualCpu


def test_a_processor_that_changes_if_in_a_way_of_its_own_has_no_short_way() -> None:
    for kind in (VirtualCpu, ParaCpu):
        own = kind.change_if is not VirtualCpu.change_if
        assert own == (kind.if_changer is not VirtualCpu.if_changer)
    assert ParaCpu.change_if is not VirtualCpu.change_if
