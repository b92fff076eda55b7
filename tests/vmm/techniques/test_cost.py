"""The cost model against the 2006 paper it is taken from, and against those who use it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import vmm.techniques
from vmm.techniques.cost import MECHANISMS, cycles_of
from vmm.techniques.deprivileged import EMULATED, FILLED, REFLECTED
from vmm.techniques.engine_exits import BY_TECHNIQUE, VM_EXIT, engine_cycles
from vmm.techniques.hardware.technique import SHADOW_FAULT
from vmm.techniques.para.abi import CALLED
from vmm.techniques.translation.cache import LOOKED_UP, TRANSLATED

HERE = Path(vmm.techniques.__file__).parent


def _mechanisms_named() -> Iterator[tuple[str, str]]:
    """Every mechanism in the second argument of a `book.row(...)` below vmm/techniques, and its file."""
    for path in sorted(HERE.rglob("*.py")):
        tree = ast.parse(path.read_text())
        constants = {
            target.id: node.value
            for node in ast.walk(tree)
            if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None
            for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
            if isinstance(target, ast.Name)
        }
        for node in ast.walk(tree):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            if node.func.attr == "row" and len(node.args) > 1:
                given = node.args[1]
                if isinstance(given, ast.Name):
                    given = constants.get(given.id, given)
                for part in ast.walk(given):
                    if isinstance(part, ast.Constant) and isinstance(part.value, str):
                        yield str(path.relative_to(HERE)), part.value


def test_every_figure_has_a_processor_with_its_year_and_a_source() -> None:
    for name, mechanism in MECHANISMS.items():
        assert mechanism.cycles > 0, name
        assert re.search(r"20\d\d|672", mechanism.processor), name
        assert re.match(r"(\[(AA|VT|BX)] )+\[[VKD]] .", mechanism.source), name


def test_every_mechanism_a_technique_names_has_a_figure() -> None:
    unknown = [(place, name) for place, name in _mechanisms_named() if name not in MECHANISMS]

    assert not unknown


def test_an_exit_costs_the_sum_of_its_mechanisms() -> None:
    assert cycles_of(()) == 0
    assert cycles_of(("decode", "emulate")) == MECHANISMS["decode"].cycles + MECHANISMS["emulate"].cycles
    assert cycles_of(["vmread"] * 3) == 3 * 178


def test_an_unknown_mechanism_is_an_error_and_not_free() -> None:
    with pytest.raises(KeyError, match="teleport"):
        cycles_of(("decode", "teleport"))


@pytest.mark.parametrize(
    ("what", "mechanisms", "published"),
    [
        ("syscall, software: native 242 and about 2000", CALLED, 2242),
        ("divzero, software", REFLECTED, 3223),
        ("pgfault, software", REFLECTED, 3927),
        ("pgfault, VT-x", SHADOW_FAULT, 11242),
    ],
)
def test_what_techniques_add_up_is_within_a_factor_of_two_of_what_was_measured(
    what: str, mechanisms: tuple[str, ...], published: int
) -> None:
    """[AA] figure 4. A real monitor does more on each path than the mechanisms that have a figure."""
    assert published / 2 < cycles_of(mechanisms) < published * 2, what


def test_vt_x_there_and_back_is_near_the_round_trip_of_prescott() -> None:
    assert cycles_of(("vm-exit", "vm-entry")) == pytest.approx(3963, rel=0.1)


def test_the_published_order_comes_out() -> None:
    """[AA] figure 4: a fault of the guest's own costs least without an exit, a hidden one most under VT-x."""
    native_fault, native_page_fault = 889, 1093
    assert native_fault < cycles_of(REFLECTED)
    assert native_page_fault < cycles_of(FILLED) < cycles_of(SHADOW_FAULT)
    assert cycles_of(EMULATED) < cycles_of(VM_EXIT)
    assert cycles_of(LOOKED_UP) < cycles_of(TRANSLATED)


def test_a_port_read_is_dearest_under_vt_x_and_cheapest_in_translated_code() -> None:
    """[AA] figure 4: `in` takes about 210 in software, 3209 native, 15826 under VT-x."""
    native = 3209
    assert engine_cycles("bare", "io.in") == 0
    cached, trapped, assisted = (
        engine_cycles(name, "io.in") for name in ("translation-cache", "trap", "hardware-nested")
    )
    assert cached < trapped < native < assisted


def test_what_the_engine_does_by_itself_is_priced_under_every_technique() -> None:
    for technique, exits in BY_TECHNIQUE.items():
        assert all(engine_cycles(technique, reason) > 0 for reason in exits), technique
