"""Interprocessor interrupts of the local APIC, one sentence of the manual per test ([SDM3] §10.6)."""

from __future__ import annotations

import pytest

from devices.apic import messages as m
from devices.apic import registers as r
from tests.devices.apic_rig import Rig, mode

SELF, ALL, OTHERS = 1 << 18, 2 << 18, 3 << 18
LOGICAL, ASSERT, LEVEL = m.LOGICAL, 1 << 14, m.LEVEL


@pytest.fixture
def rig() -> Rig:
    return Rig()


@pytest.mark.parametrize(
    ("command", "destination", "arrives"),
    [
        (SELF, 0x77, True), (ALL, 0x77, True), (OTHERS, 0, False),
        (0, 0, True), (0, 1, False), (0, 0xFF, True),
        (LOGICAL, 0x04, True), (LOGICAL, 0x02, False), (LOGICAL, 0xFF, True),
    ],
)  # fmt: skip
def test_destinations_of_an_ipi(rig: Rig, command: int, destination: int, arrives: bool) -> None:
    """§10.6.1, §10.6.2: flat model, logical ID 04h."""
    rig.write(r.LDR, 0x0400_0000)
    rig.write(r.ICR_HIGH, destination << 24)
    rig.write(r.ICR_LOW, command | ASSERT | 0x44)
    assert rig.taken() == [0x44] * arrives


@pytest.mark.parametrize(
    ("destination", "arrives"), [(0x32, True), (0x31, False), (0x22, False), (0xF2, True)]
)
def test_cluster_model(rig: Rig, destination: int, arrives: bool) -> None:
    """§10.6.2.2: the cluster has to be the same, then one of the four bits."""
    rig.write(r.DFR, 0x0FFF_FFFF)
    rig.write(r.LDR, 0x3200_0000)
    rig.write(r.ICR_HIGH, destination << 24)
    rig.write(r.ICR_LOW, LOGICAL | 0x44)
    assert rig.taken() == [0x44] * arrives


def test_the_id_can_be_changed(rig: Rig) -> None:
    rig.write(r.ID, 0x0700_0000)
    rig.write(r.ICR_HIGH, 0x0700_0000)
    rig.write(r.ICR_LOW, 0x44)
    assert rig.taken() == [0x44]


def test_an_ipi_with_an_illegal_vector_is_not_sent(rig: Rig) -> None:
    rig.request(0x0F)
    rig.write(r.ESR, 0)
    assert rig.read(r.ESR) == 1 << 5


def test_the_delivery_status_is_idle_after_each_ipi(rig: Rig) -> None:
    rig.write(r.ICR_LOW, OTHERS | 0xFFF)
    assert rig.read(r.ICR_LOW) & 1 << 12 == 0


@pytest.mark.parametrize("number", [m.SMI, m.INIT, m.STARTUP])
def test_init_and_startup_for_processors_that_are_not_there(rig: Rig, number: int) -> None:
    """What a kernel sends to wake the other processors of a table that lies."""
    for command, destination in ((OTHERS, 0), (0, 1), (SELF, 0), (ALL, 0)):
        rig.write(r.ICR_HIGH, destination << 24)
        rig.write(r.ICR_LOW, command | mode(number) | ASSERT | LEVEL | 0x10)
        rig.write(r.ICR_LOW, command | mode(number) | LEVEL | 0x10)
    assert (rig.inits, rig.nmis, rig.taken()) == (0, 0, [])


def test_nmi_and_init_to_itself_by_number(rig: Rig) -> None:
    rig.write(r.ICR_LOW, mode(m.NMI))
    rig.write(r.ICR_LOW, mode(m.INIT) | LEVEL)  # de-assert
    assert (rig.nmis, rig.inits) == (1, 0)
    rig.write(r.ICR_LOW, mode(m.INIT) | LEVEL | ASSERT)
    assert rig.inits == 1
