"""How the sequencer runs and stops: pause, STEP, breakpoint, idling, the bound, state, the host's view."""

from __future__ import annotations

import pytest

from devices.aic7870 import sequencer_registers as reg
from devices.aic7870.assembler import AssemblyError, assemble
from devices.aic7870.disassembly import disassemble, listing
from devices.aic7870.instruction import WORD_BITS
from devices.aic7870.sequencer import Sequencer
from tests.devices.aic7870.sequencer_rig import Rig, random_program

COUNT = "loop: inc 0x20\njmp loop"


def loaded(text: str, hot: int = 0) -> Rig:
    rig = Rig(hot=hot)
    rig.load(assemble(text))
    return rig


def test_step_executes_one_instruction_and_pauses() -> None:
    rig = loaded("inc 0x20\ninc 0x20\ninc 0x20")
    rig.write(reg.SEQCTL, reg.STEP)
    for count in (1, 2):
        assert rig.run() == 1
        assert (rig.registers.plain[0x20], rig.halted, rig.sequencer.pc) == (count, True, count)


def test_stepping_leaves_a_critical_section_and_seqaddr_tells_where() -> None:
    rig = loaded("nop\n" * 4 + "jmp 9\n" + "nop\n" * 4 + "spin: jmp spin")
    rig.write(reg.SEQADDR0, 2)
    rig.write(reg.SEQCTL, reg.STEP)
    steps = 0
    while rig.sequencer.ports.host_read(reg.SEQADDR0) in range(2, 6):
        rig.run()
        steps += 1
    assert (steps, rig.sequencer.pc) == (3, 9)


@pytest.mark.parametrize("hot", [0, 1 << 30])
def test_breakpoint_stops_where_the_pc_comes_to_it_and_goes_on_from_there(hot: int) -> None:
    rig = loaded(COUNT, hot)
    rig.write(reg.BRKADDR0, 1)
    rig.write(reg.BRKADDR1, 0)
    for count in (1, 2):
        rig.run()
        assert (rig.log[-1], rig.registers.plain[0x20]) == (("breakpoint", 1), count)


def test_brkdis_switches_the_breakpoint_off() -> None:
    rig = loaded(COUNT)
    rig.write(reg.BRKADDR0, 1)
    rig.write(reg.BRKADDR1, reg.BRKDIS)
    assert rig.run(100) == 100


def test_host_cannot_set_pausedis_and_can_clear_it() -> None:
    rig = loaded("mvi SEQCTL, PAUSEDIS|FASTMODE\nspin: jmp spin")
    rig.write(reg.SEQCTL, reg.PAUSEDIS)
    assert rig.sequencer.seqctl == 0
    rig.run()
    assert rig.sequencer.seqctl == reg.PAUSEDIS | reg.FASTMODE
    rig.write(reg.SEQCTL, reg.PAUSEDIS)
    assert rig.sequencer.seqctl == reg.PAUSEDIS
    rig.write(reg.SEQCTL, 0)
    assert rig.sequencer.seqctl == 0


def test_seqreset_goes_to_address_0_and_reads_0() -> None:
    rig = loaded("nop\nnop\nmvi INTSTAT, 1")
    rig.run()
    rig.write(reg.SEQCTL, reg.SEQRESET | reg.FASTMODE)
    assert (rig.sequencer.pc, rig.sequencer.ports.host_read(reg.SEQCTL)) == (0, reg.FASTMODE)


def test_host_reads_sindir_as_0_and_its_write_of_dindir_goes_nowhere() -> None:
    rig = loaded("nop")
    rig.write(reg.SINDEX, 0x20)
    rig.write(reg.DINDEX, 0x20)
    rig.registers.plain[0x20] = 0x77
    rig.write(reg.DINDIR, 0x11)
    assert rig.sequencer.ports.host_read(reg.SINDIR) == 0
    assert (rig.sequencer.sindex, rig.sequencer.dindex, rig.registers.plain[0x20]) == (0x20, 0x20, 0x77)


def test_seqram_counts_the_address_after_the_fourth_byte_and_reads_back_29_bits() -> None:
    rig = Rig()
    rig.load([0xFFFF_FFFF, 0x0123_4567])
    rig.write(reg.SEQCTL, reg.LOADRAM)
    words = [[rig.sequencer.ports.host_read(reg.SEQRAM) for _ in range(4)] for _ in range(2)]
    assert words == [[0xFF, 0xFF, 0xFF, 0x1F], [0x67, 0x45, 0x23, 0x01]]
    assert rig.sequencer.pc == 2


def test_seqram_is_not_written_without_loadram_and_nothing_runs_with_it() -> None:
    rig = loaded("inc 0x20")
    rig.write(reg.SEQRAM, 0xFF)
    assert rig.sequencer.program[:4] == assemble("inc 0x20")[0].to_bytes(4, "little")
    rig.write(reg.SEQCTL, reg.LOADRAM)
    assert rig.run() == 0


def test_stack_gives_low_then_high_byte_and_eight_reads_go_round() -> None:
    rig = loaded("nop")
    for address in (0x101, 0x22, 0x133, 0x44):
        rig.sequencer.push(address)
    dump = [rig.sequencer.ports.host_read(reg.STACK) for _ in range(8)]
    assert dump == [0x44, 0, 0x33, 1, 0x22, 0, 0x01, 1]
    assert rig.sequencer.stack == (0x44, 0x133, 0x22, 0x101)


@pytest.mark.parametrize("hot", [0, 1 << 30])
def test_waiting_loop_stops_and_goes_on_when_what_it_waits_for_changes(hot: int) -> None:
    rig = loaded("wait: test SSTAT1, 0x01 jz wait\nmvi INTSTAT, 1", hot)
    assert rig.run(1000) < 20
    assert rig.run(1000) == 0
    rig.status = 1
    rig.registers.epoch += 1
    assert rig.run(1000) == 2


def test_loop_that_changes_something_is_no_waiting_and_its_bound_is_told_once() -> None:
    rig = loaded(COUNT)
    events: list[object] = []
    rig.sequencer = Sequencer(rig.registers, rig, None, "scsi0", type("T", (), {"emit": events.append})())
    rig.load(assemble(COUNT))
    assert [rig.run(500), rig.run(500)] == [500, 500]
    assert rig.registers.plain[0x20] == 500 & 0xFF
    assert [type(event).__name__ for event in events] == ["SequencerRunaway"]


@pytest.mark.parametrize("hot", [0, 1 << 30])
def test_state_saved_in_the_middle_goes_on_the_same(hot: int) -> None:
    for seed in range(20):
        one, other = Rig(hot=hot), Rig(hot=hot)
        one.load(random_program(seed))
        one.run(37)
        other.registers.plain[:] = one.registers.plain
        other.store, other.counter, other.queue[:] = one.store, one.counter, one.queue
        other.sequencer.load(one.sequencer.save())
        assert other.sequencer.save() == one.sequencer.save()
        one.run(50)
        other.run(50)
        assert other.sequencer.save() == one.sequencer.save()
        assert other.registers.plain == one.registers.plain


def test_new_program_is_what_runs() -> None:
    rig = loaded("mvi 0x20, 1\nmvi INTSTAT, 1")
    rig.run()
    rig.load(assemble("mvi 0x20, 2\nmvi INTSTAT, 1"))
    rig.run()
    assert rig.registers.plain[0x20] == 2


def test_watcher_sees_every_instruction_and_can_hold_the_sequencer() -> None:
    rig = loaded("inc A\ninc A\ninc A\nmvi INTSTAT, 1")
    seen = []

    class Watcher:
        def before(self, sequencer: Sequencer) -> bool:
            seen.append((sequencer.pc, sequencer.accum))
            return sequencer.pc != 2

    rig.sequencer.watcher = Watcher()
    assert rig.run() == 2
    assert seen == [(0, 0), (1, 1), (2, 2)]
    rig.sequencer.watcher = None
    assert rig.run() == 2


def test_disassembly_assembles_to_the_same_words() -> None:
    words = [k * 0x9E37_79B1 & WORD_BITS for k in range(512)] + []
    assert assemble("\n".join(disassemble(word) for word in words)) == words
    text = "\n".join(f"{f'{line.label}: ' if line.label else ''}{line.text}" for line in listing(words))
    assert assemble(text) == words


def test_disassembly_names_registers_and_bits() -> None:
    assert (
        disassemble(assemble("test SSTAT0, SELDO|SELDI jnz 0x18")[0]) == "test  SSTAT0, SELDO|SELDI jnz 0x018"
    )
    assert disassemble(assemble("and SXFRCTL0, ~SPIOEN")[0]) == "and   SXFRCTL0, ~SPIOEN"


@pytest.mark.parametrize("line", ["frob 1", "mvi 0x20, 0", "jmp nowhere", "mov 0x20", "mvi 0x20, 0x100"])
def test_assembler_says_which_line_is_wrong(line: str) -> None:
    with pytest.raises(AssemblyError, match=r"^line 2: "):
        assemble(f"nop\n{line}")
