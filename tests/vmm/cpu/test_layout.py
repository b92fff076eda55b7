"""The proofs that Unicorn is the build whose structures we overlay: what lies elsewhere is refused."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from vmm.cpu import layout
from vmm.cpu.state import CpuState
from vmm.errors import EngineError

NESTED = ("hflags2", "nested_cr3", "nested_mode")


def test_the_fields_of_nested_paging_are_where_this_build_has_them() -> None:
    layout.prove_nested()


@pytest.mark.parametrize("moved", NESTED)
@pytest.mark.parametrize("distance", [-8, -4, 4, 8])
def test_a_build_that_has_one_of_them_elsewhere_is_refused(
    moved: str, distance: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = {name: SimpleNamespace(offset=getattr(CpuState, name).offset) for name in NESTED}
    fields[moved].offset += distance
    monkeypatch.setattr(layout, "CpuState", SimpleNamespace(**fields))
    with pytest.raises(EngineError, match=rf"{moved} is not at {fields[moved].offset}; Trapline needs"):
        layout.prove_nested()
