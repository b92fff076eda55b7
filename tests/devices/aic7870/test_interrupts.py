"""HCNTRL, INTSTAT, CLRINT, ERROR: pause, interrupts and the IRQ line of an AIC-7870."""

from __future__ import annotations

import pytest

from devices.aic7870 import registers as r
from devices.aic7870.instruction import JMP, OR, alu, branch
from tests.devices.aic7870.rig import Rig

SPIN = branch(JMP, r.SCRATCH_RAM, 0, 0)  # jump to itself at 0
ALLZEROS = 0x6A


def download(rig: Rig, *words: int) -> None:
    """Load a program at 0 and leave the sequencer paused there."""
    rig.write(r.HCNTRL, r.PAUSE)
    rig.write(r.SEQCTL, 0x91)
    rig.write(r.SEQADDR, 0, 2)
    for word in words:
        for at in range(4):
            rig.write(r.SEQRAM, word >> 8 * at & 0xFF)
    rig.write(r.SEQCTL, 0x90)
    rig.write(r.SEQADDR, 0, 2)


def store(register: int, value: int) -> int:
    """The instruction that writes a value other than 0."""
    return alu(OR, register, ALLZEROS, value)


def test_power_on_is_paused_and_says_that_the_reset_is_done() -> None:
    rig = Rig()
    rig.chip.reset()
    assert rig.read(r.HCNTRL) == r.PAUSE | r.CHIPRST


def test_chiprst_reads_1_until_the_next_write_with_0() -> None:
    rig = Rig()
    rig.write(r.HCNTRL, r.PAUSE | r.CHIPRST)
    assert rig.read(r.HCNTRL) == r.PAUSE | r.CHIPRST
    rig.write(r.HCNTRL, r.PAUSE)
    assert rig.read(r.HCNTRL) == r.PAUSE


def test_scratch_ram_and_scbs_survive_chiprst() -> None:
    rig = Rig()
    rig.write(r.SCRATCH_RAM, 0x11223344, 4)
    for page in (2, 5):
        rig.write(r.SCBPTR, page)
        rig.write(r.SCB + 31, 0xA0 + page)
    rig.write(r.HCNTRL, r.PAUSE | r.CHIPRST)
    rig.write(r.HCNTRL, r.PAUSE)
    assert rig.read(r.SCRATCH_RAM, 4) == 0x11223344
    assert rig.read(r.SCBPTR) == 0
    for page in (2, 5):
        rig.write(r.SCBPTR, page)
        assert rig.read(r.SCB + 31) == 0xA0 + page


@pytest.mark.parametrize(
    ("register", "first"),
    [
        (r.SXFRCTL1, 0), (r.SIMODE1, 0), (r.SCSISEQ, 0), (r.SCSIID, 7), (r.DFCNTRL, 0), (r.HADDR, 0),
        (r.INTSTAT, 0),
        (r.SBLKCTL, r.DIAG_LED), (r.DSPCISTATUS, 0), (r.SCBCNT, 0),
    ],
)  # fmt: skip
def test_chiprst_gives_registers_their_first_values(register: int, first: int) -> None:
    rig = Rig()
    rig.write(register, 0xC0 & ~r.SCSIRSTO)
    rig.write(r.HCNTRL, r.PAUSE | r.CHIPRST)
    assert rig.read(register) == first


def test_the_pci_ids_can_be_read_in_the_chip() -> None:
    assert Rig().read(r.PCI_IDS, 4) == 0x7078_9004


def test_the_line_needs_inten() -> None:
    rig = Rig()
    rig.write(r.INTSTAT, r.CMDCMPLT)
    assert not rig.irq
    rig.write(r.HCNTRL, r.PAUSE | r.INTEN)
    assert rig.irq


def test_power_down_silences_the_line() -> None:
    rig = Rig()
    rig.write(r.INTSTAT, r.CMDCMPLT)
    rig.write(r.HCNTRL, r.PAUSE | r.INTEN | r.POWRDN)
    assert not rig.irq


def test_swint_forces_the_line() -> None:
    rig = Rig()
    rig.write(r.HCNTRL, r.PAUSE | r.INTEN | r.SWINT)
    assert rig.irq
    rig.write(r.HCNTRL, r.PAUSE | r.INTEN)
    assert not rig.irq


def test_clrint_clears_what_it_names() -> None:
    rig = Rig()
    rig.write(r.HCNTRL, r.PAUSE | r.INTEN)
    rig.write(r.INTSTAT, r.CMDCMPLT)
    rig.write(r.INTSTAT, 0x71)
    rig.write(r.CLRINT, r.SEQINT)
    assert rig.read(r.INTSTAT) == 0x70 | r.CMDCMPLT
    assert rig.irq
    rig.write(r.CLRINT, r.CMDCMPLT)
    assert not rig.irq


def test_the_code_counts_only_with_seqint() -> None:
    rig = Rig()
    rig.write(r.INTSTAT, 0x71)
    rig.write(r.CLRINT, 0x0F)
    rig.write(r.INTSTAT, 0x32)
    assert rig.read(r.INTSTAT) == 0x72


def test_command_complete_does_not_pause() -> None:
    rig = Rig()
    download(rig, store(r.INTSTAT, r.CMDCMPLT), branch(JMP, 0x6A, 0, 1))
    rig.write(r.HCNTRL, r.INTEN)
    assert rig.read(r.HCNTRL) == r.INTEN
    assert rig.irq


def test_seqint_pauses_at_the_next_instruction() -> None:
    rig = Rig()
    download(rig, store(r.SCRATCH_RAM, 1), store(r.INTSTAT, 0x71), store(r.SCRATCH_RAM, 2))
    rig.write(r.HCNTRL, r.INTEN)
    assert rig.read(r.HCNTRL) == r.PAUSE | r.INTEN
    assert rig.read(r.SEQADDR, 2) == 2
    assert rig.read(r.SCRATCH_RAM) == 1
    assert rig.irq


def test_clearing_the_interrupt_alone_does_not_resume() -> None:
    rig = Rig()
    download(rig, store(r.INTSTAT, 0x71), store(r.SCRATCH_RAM, 2), branch(JMP, 0x6A, 0, 2))
    rig.write(r.HCNTRL, r.INTEN)
    rig.write(r.CLRINT, r.SEQINT)
    assert rig.read(r.HCNTRL) & r.PAUSE
    assert rig.read(r.SCRATCH_RAM) == 0
    rig.write(r.HCNTRL, r.INTEN)
    assert rig.read(r.SCRATCH_RAM) == 2


def test_pausedis_refuses_the_hosts_pause_but_no_interrupt() -> None:
    rig = Rig()
    download(
        rig, store(r.SEQCTL, 0x90 | r.PAUSEDIS), branch(0xF, r.SCRATCH_RAM, 0x01, 1), store(r.INTSTAT, 0x71)
    )
    rig.write(r.HCNTRL, r.INTEN)
    rig.write(r.HCNTRL, r.INTEN | r.PAUSE)
    assert not rig.read(r.HCNTRL) & r.PAUSE
    rig.write(r.SCRATCH_RAM, 1)
    assert rig.read(r.HCNTRL) & r.PAUSE
    assert rig.read(r.INTSTAT) == 0x71


def test_the_pause_that_was_refused_comes_when_pausedis_falls() -> None:
    rig = Rig()
    program = (
        store(r.SEQCTL, 0x90 | r.PAUSEDIS),
        branch(0xF, r.SCRATCH_RAM, 0x01, 1),
        store(r.SEQCTL, 0x90),
        store(r.SCRATCH_RAM, 4),
    )
    download(rig, *program)
    rig.write(r.HCNTRL, 0)
    rig.write(r.HCNTRL, r.PAUSE)
    rig.write(r.SCRATCH_RAM, 1)
    assert rig.read(r.HCNTRL) & r.PAUSE
    assert rig.read(r.SEQADDR) == 3


def test_a_breakpoint_pauses_and_interrupts() -> None:
    rig = Rig()
    download(rig, store(r.SCRATCH_RAM, 1), store(r.SCRATCH_RAM, 2), store(r.SCRATCH_RAM, 3))
    rig.write(0x67, 0x0002, 2)
    rig.write(r.SEQCTL, 0x98)
    rig.write(r.HCNTRL, r.INTEN)
    assert rig.read(r.SCRATCH_RAM) == 2
    assert rig.read(r.INTSTAT) == r.BRKADRINT
    assert rig.read(r.HCNTRL) & r.PAUSE


def test_an_illegal_opcode_pauses_and_shows_in_error_until_it_is_cleared() -> None:
    rig = Rig()
    download(rig, 0x7 << 25)
    rig.write(r.HCNTRL, r.INTEN)
    assert rig.read(r.ERROR) == r.ILLOPCODE
    assert rig.read(r.INTSTAT) == r.BRKADRINT
    assert rig.read(r.HCNTRL) & r.PAUSE
    rig.write(r.CLRINT, r.BRKADRINT)
    assert rig.read(r.ERROR) == 0


def test_step_executes_one_instruction_and_pauses() -> None:
    rig = Rig()
    download(rig, store(r.SCRATCH_RAM, 1), store(r.SCRATCH_RAM, 2), store(r.SCRATCH_RAM, 3))
    rig.write(r.SEQCTL, 0x94)
    for value in (1, 2):
        rig.write(r.HCNTRL, 0)
        assert rig.read(r.HCNTRL) & r.PAUSE
        assert rig.read(r.SCRATCH_RAM) == value
        assert rig.read(r.SEQADDR) == value


def test_one_instruction_is_executed_after_an_unpause_even_with_an_interrupt_pending() -> None:
    rig = Rig()
    download(rig, store(r.SCRATCH_RAM, 1), store(r.SCRATCH_RAM, 2))
    rig.write(r.INTSTAT, 0x71)
    rig.write(r.SEQCTL, 0x94)
    rig.write(r.HCNTRL, 0)
    assert rig.read(r.SCRATCH_RAM) == 1
    assert rig.read(r.HCNTRL) & r.PAUSE


def test_scsiint_is_a_level_that_returns_while_its_cause_is_enabled() -> None:
    rig = Rig()
    rig.write(r.SIMODE1, r.SELTO)
    assert not rig.select(5)  # clears SELTO at its end
    rig.write(r.SCSIID, 0x57)
    rig.write(r.SCSISEQ, r.ENSELO)
    assert rig.read(r.INTSTAT) == r.SCSIINT
    rig.write(r.CLRINT, r.SCSIINT)
    assert rig.read(r.INTSTAT) == r.SCSIINT
    rig.write(r.SIMODE1, 0)
    assert rig.read(r.INTSTAT) == 0
    rig.write(r.SIMODE1, r.SELTO)
    assert rig.read(r.INTSTAT) == r.SCSIINT
    rig.write(r.SCSISEQ, 0)
    rig.write(r.CLRSINT1, r.SELTO)
    assert rig.read(r.INTSTAT) == 0


def test_scsiint_pauses_the_sequencer() -> None:
    rig = Rig()
    rig.write(r.SIMODE1, r.SELTO)
    rig.write(r.SCSIID, 0x57)
    download(rig, store(r.SCSISEQ, r.ENSELO), store(r.SCRATCH_RAM, 2))
    rig.write(r.HCNTRL, r.INTEN)
    assert rig.read(r.HCNTRL) & r.PAUSE
    assert rig.read(r.SEQADDR) == 1
    assert rig.irq


def test_a_program_that_never_rests_is_left_and_goes_on_later() -> None:
    rig = Rig()
    counting = alu(0x3, r.SCRATCH_RAM, r.SCRATCH_RAM, 1)
    download(rig, counting, branch(JMP, 0x6A, 0, 0))
    rig.write(r.HCNTRL, 0)
    executed = rig.chip.instructions
    assert 0 < executed <= 100_000
    rig.read(r.SCRATCH_RAM)
    assert rig.chip.instructions == executed
    rig.advance(1_000_000)
    assert rig.chip.instructions > executed
    rig.write(r.HCNTRL, r.PAUSE)
    executed = rig.chip.instructions
    rig.advance(10_000_000_000)
    assert rig.chip.instructions == executed


def test_the_sequencer_can_pause_itself() -> None:
    rig = Rig()
    download(rig, store(r.HCNTRL, r.PAUSE | r.INTEN), store(r.SCRATCH_RAM, 2))
    for _ in range(20):  # as often as it takes to be compiled
        rig.write(r.SEQADDR, 0, 2)
        rig.write(r.HCNTRL, r.INTEN)
        assert rig.read(r.HCNTRL) == r.PAUSE | r.INTEN
        assert rig.read(r.SEQADDR) == 1


def test_the_sequencer_can_reset_its_chip() -> None:
    rig = Rig()
    download(rig, store(r.SCRATCH_RAM, 1), store(r.HCNTRL, r.CHIPRST), store(r.SCRATCH_RAM, 2))
    for _ in range(20):
        rig.write(r.HCNTRL, 0)
        assert rig.read(r.HCNTRL) == r.PAUSE | r.CHIPRST
        assert rig.read(r.SCRATCH_RAM) == 1
