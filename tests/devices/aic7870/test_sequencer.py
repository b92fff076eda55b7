"""What instructions do, and to which flags. [AIC] "Flags affected"."""

from __future__ import annotations

import pytest

from devices.aic7870 import sequencer_registers as reg
from devices.aic7870.assembler import assemble
from tests.devices.aic7870.sequencer_rig import PAUSE, Rig

STOP = "mvi INTSTAT, 1"


def ran(program: str, **scratch: int) -> Rig:
    """Run a program to the write of INTSTAT at its end, interpreted and compiled; return the last.

    `scratch` gives bytes of scratch RAM as `r20=...`, and `zero` and `carry` before.
    """
    states = []
    for hot in (1 << 30, 0):
        rig = Rig(hot=hot)
        rig.load(assemble(f"{program}\n{STOP}"))
        for name, value in scratch.items():
            if name in ("zero", "carry"):
                setattr(rig.sequencer, name, value)
            else:
                rig.registers.plain[int(name[1:], 16)] = value
        rig.run(200)
        assert rig.log == [("pause", rig.sequencer.pc)]
        states.append(rig.state())
    assert states[0] == states[1]
    return rig


def flags(rig: Rig) -> tuple[bool, int]:
    return rig.sequencer.zero, rig.sequencer.carry


# STOP itself sets ZERO to False (an OR that is not 0), so flags are looked at through a copy.
KEEP_FLAGS = "mov 0x2f, FLAGS"


@pytest.mark.parametrize(
    ("instruction", "before", "after"),
    [
        ("or 0x21, 0x0f, 0x20", 0xA0, 0xAF),
        ("and 0x21, 0x0f, 0x20", 0xA5, 0x05),
        ("xor 0x21, 0xff, 0x20", 0xA5, 0x5A),
        ("add 0x21, 0x10, 0x20", 0xF8, 0x08),
        ("mov 0x21, 0x20", 0x7E, 0x7E),
        ("mvi 0x21, 0x33", 0, 0x33),
        ("clr 0x21", 0, 0x00),
        ("not 0x21, 0x20", 0x0F, 0xF0),
        ("inc 0x21, 0x20", 0xFF, 0x00),
        ("dec 0x21, 0x20", 0x00, 0xFF),
        ("shl 0x21, 3, 0x20", 0b1011_0110, 0b1011_0000),
        ("shr 0x21, 3, 0x20", 0b1011_0110, 0b0001_0110),
        ("rol 0x21, 0x20, 0x03", 0b1011_0110, 0b1011_0101),
        ("rol 0x21, 0x20, 0x00", 0xA5, 0xA5),
        ("rol 0x21, 0x20, 0x43", 0b1011_0110, 0b1011_0000),
        ("rol 0x21, 0x20, 0x80", 0xFF, 0x00),
        ("rol 0x21, 0x20, 0xf8", 0xFF, 0x00),
    ],
)
def test_alu_instruction_writes_its_result(instruction: str, before: int, after: int) -> None:
    rig = ran(f"mvi 0x21, 0x99\n{instruction}", r20=before)
    assert rig.registers.plain[0x21] == after


@pytest.mark.parametrize("operation", ["or", "and", "xor", "add", "adc"])
def test_immediate_of_0_is_the_accumulator(operation: str) -> None:
    rig = ran(f"mvi A, 0x35\n{operation} 0x21, A, 0x20", r20=0x53, carry=1)
    expected = {"or": 0x77, "and": 0x11, "xor": 0x66, "add": 0x88, "adc": 0x89}
    assert rig.registers.plain[0x21] == expected[operation]


def test_immediate_of_0_of_rol_is_no_accumulator() -> None:
    rig = ran("mvi A, 0x44\nrol 0x21, 0x20, 0x00", r20=0x81)
    assert rig.registers.plain[0x21] == 0x81


@pytest.mark.parametrize(
    ("instruction", "before", "zero", "carry"),
    [
        ("add 0x21, 0x01, 0x20", 0xFF, True, 1),
        ("add 0x21, 0x01, 0x20", 0x7F, False, 0),
        ("adc 0x21, 0xff, 0x20", 0xFF, False, 1),
        ("adc 0x21, 0x01, 0x20", 0x01, False, 0),
        ("rol 0x21, 0x20, 0x01", 0x80, False, 1),
        ("rol 0x21, 0x20, 0x01", 0x40, False, 0),
        ("shl 0x21, 1, 0x20", 0x80, True, 1),
        ("shl 0x21, 4, 0x20", 0x10, True, 1),
        ("shr 0x21, 1, 0x20", 0x01, True, 1),
        ("shr 0x21, 4, 0x20", 0x08, True, 1),
        ("shr 0x21, 4, 0x20", 0x10, False, 0),
    ],
)
@pytest.mark.parametrize("carry_before", [0, 1])
def test_add_adc_and_rol_set_both_flags(
    instruction: str, before: int, zero: bool, carry: int, carry_before: int
) -> None:
    if "adc" in instruction and not carry_before:
        pytest.skip("the carry is an operand")
    rig = ran(f"{instruction}\n{KEEP_FLAGS}", r20=before, carry=carry_before)
    assert rig.registers.plain[0x2F] == (reg.ZERO if zero else 0) | carry


@pytest.mark.parametrize(
    "instruction",
    ["or NONE, 0x01, ALLZEROS", "and NONE, A, 0x20", "xor NONE, 0x55, 0x20", "rol NONE, 0x20, 0x00"],
)
def test_or_and_xor_and_a_rotation_by_nothing_leave_the_carry(instruction: str) -> None:
    assert ran(f"{instruction}\n{KEEP_FLAGS}", r20=0x55, carry=1).registers.plain[0x2F] & reg.CARRY


def test_a_move_between_add_and_adc_keeps_the_chain() -> None:
    program = """
        add 0x24, 0x01, 0x20
        clr A
        adc 0x25, A, 0x21
        mov NONE, ALLONES
        adc 0x26, A, 0x22
        adc 0x27, A, 0x23
    """
    rig = ran(program, r20=0xFF, r21=0xFF, r22=0x41, r23=0x10)
    assert rig.registers.plain[0x24:0x28] == bytes((0, 0, 0x42, 0x10))


@pytest.mark.parametrize(
    ("test", "value", "taken", "zero"),
    [
        ("test 0x20, 0x81 jz", 0x7E, True, True),
        ("test 0x20, 0x81 jz", 0x01, False, False),
        ("test 0x20, 0x81 jnz", 0x80, True, False),
        ("test 0x20, 0x81 jnz", 0x00, False, True),
        ("cmp 0x20, 0x42 je", 0x42, True, True),
        ("cmp 0x20, 0x42 je", 0x43, False, False),
        ("cmp 0x20, 0x42 jne", 0x43, True, False),
        ("cmp 0x20, 0x42 jne", 0x42, False, True),
        ("test 0x20, A jz", 0xF0, True, True),
        ("cmp 0x20, A je", 0x0F, True, True),
        ("cmp 0x20, A jne", 0xF0, True, False),
    ],
)
def test_a_branch_that_tests_sets_zero_to_what_it_found(
    test: str, value: int, taken: bool, zero: bool
) -> None:
    program = f"mvi A, 0x0f\n{test} yes\nmvi 0x21, 0x10\nyes: {KEEP_FLAGS}"
    rig = ran(program, r20=value, carry=1)
    assert (rig.registers.plain[0x21] == 0) == taken
    if taken:
        assert rig.registers.plain[0x2F] == (reg.ZERO if zero else 0) | reg.CARRY


def test_zero_after_a_branch_not_taken() -> None:
    assert ran(f"test 0x20, 0x01 jnz 0\n{KEEP_FLAGS}", r20=0).registers.plain[0x2F] == reg.ZERO
    assert ran(f"test 0x20, 0x01 jz 0\n{KEEP_FLAGS}", r20=1).registers.plain[0x2F] == 0


@pytest.mark.parametrize("jump", ["jmp", "call", "jc", "jnc"])
def test_source_or_immediate_goes_to_sindex_whether_the_branch_is_taken_or_not(jump: str) -> None:
    for carry in (0, 1):
        rig = ran(f"or 0x20, 0x41 {jump} on\nnop\non: mov 0x21, SINDEX\n{KEEP_FLAGS}", r20=0x18, carry=carry)
        assert rig.registers.plain[0x21] == 0x59


def test_immediate_of_0_of_a_jump_is_literal() -> None:
    rig = ran("mvi A, 0x77\nmov 0x20 jmp on\nnop\non: nop", r20=0x10)
    assert rig.sequencer.sindex == 0x10


def test_jump_that_hands_over_0_sets_zero_and_leaves_the_carry() -> None:
    rig = ran(f"mvi 0 jmp on\nnop\non: {KEEP_FLAGS}", carry=1)
    assert rig.registers.plain[0x2F] == reg.ZERO | reg.CARRY


@pytest.mark.parametrize(("jump", "carry", "taken"), [("jc", 1, True), ("jc", 0, False), ("jnc", 0, True),
                                                      ("jnc", 1, False)])  # fmt: skip
def test_jc_and_jnc_ask_the_carry(jump: str, carry: int, taken: bool) -> None:
    rig = ran(f"{jump} on\nmvi 0x21, 1\non: nop", carry=carry)
    assert (rig.registers.plain[0x21] == 0) == taken


def test_call_and_return_nest_four_deep() -> None:
    program = """
            call a
            jmp end
        a:  call b
            inc 0x20 ret
        b:  call c
            inc 0x20 ret
        c:  call d
            inc 0x20 ret
        d:  inc 0x20 ret
        end: nop
    """
    assert ran(program).registers.plain[0x20] == 4


def test_fifth_call_loses_the_oldest_return_address() -> None:
    rig = Rig()
    rig.load(assemble("call 1\ncall 2\ncall 3\ncall 4\ncall 5\n" + STOP))
    rig.run()
    assert rig.sequencer.stack == (5, 4, 3, 2)


def test_returns_go_round_the_stack() -> None:
    rig = Rig()
    rig.sequencer.return_stack = 0
    for address in (9, 7, 5, 3):
        rig.sequencer.push(address)
    assert [rig.sequencer.pop() for _ in range(8)] == [3, 5, 7, 9, 3, 5, 7, 9]


def test_return_happens_after_the_write() -> None:
    rig = ran("call sub\njmp end\nsub: mvi 0x20, 0x12 ret\nend: nop")
    assert rig.registers.plain[0x20] == 0x12


def test_source_is_read_though_the_result_goes_nowhere() -> None:
    rig = ran("mov NONE, SCSIDATL\nmov NONE, SCSIDATL")  # the rig's SCSIDATL counts reads
    assert rig.counter == 2


def test_sindir_reads_where_sindex_points_and_counts_on() -> None:
    rig = ran("mvi SINDEX, 0x20\nmov 0x30, SINDIR\nmov 0x31, SINDIR", r20=0x12, r21=0x34)
    assert rig.registers.plain[0x30:0x32] == b"\x12\x34"
    assert rig.sequencer.sindex == 0x22


def test_dindir_writes_where_dindex_points_and_counts_on() -> None:
    rig = ran("mvi DINDEX, 0x20\nmvi DINDIR, 0x12\nmvi DINDIR, 0x34")
    assert rig.registers.plain[0x20:0x22] == b"\x12\x34"
    assert rig.sequencer.dindex == 0x22


def test_indices_count_round_from_ff() -> None:
    rig = ran("mvi SINDEX, 0xff\nmov NONE, SINDIR")
    assert rig.sequencer.sindex == 0


def test_indirect_loop_copies_with_a_variable_index() -> None:
    program = """
            mov SINDEX, 0x20
            mov DINDEX, 0x21
            mvi 0x22, 8
        more: mov DINDIR, SINDIR
            dec 0x22
            test 0x22, 0xff jnz more
    """
    rig = ran(program, r20=0x30, r21=0x40, **{f"r{0x30 + k:x}": k + 1 for k in range(8)})
    assert rig.registers.plain[0x40:0x48] == bytes(range(1, 9))


def test_indirect_write_to_a_register_that_pauses_stops_after_it() -> None:
    rig = Rig()
    rig.load(assemble("mov DINDEX, 0x20\nmvi DINDIR, 1\nmvi 0x30, 1"))
    rig.registers.plain[0x20] = PAUSE
    rig.run()
    assert (rig.sequencer.pc, rig.registers.plain[0x30]) == (2, 0)


@pytest.mark.parametrize("bit", range(8))
def test_function1_turns_bits_6_to_4_into_a_bit(bit: int) -> None:
    rig = ran("mov FUNCTION1, 0x20\nmov 0x21, FUNCTION1", r20=bit << 4 | 0x8F & ~0x70)
    assert rig.registers.plain[0x21] == 1 << bit


def test_allones_allzeros_and_none() -> None:
    rig = ran("mvi NONE, 0x5a\nmvi ALLONES, 0x11\nmov 0x20, ALLONES\nmov 0x21, ALLZEROS")
    assert rig.registers.plain[0x20:0x22] == b"\xff\x00"


def test_write_of_seqaddr0_jumps_within_the_half() -> None:
    rig = ran("mov SEQADDR, 0x20\nmvi 0x21, 1\nmvi 0x22, 1\nnop", r20=2)
    assert (rig.registers.plain[0x21], rig.registers.plain[0x22]) == (0, 1)


def test_write_of_seqaddr1_jumps_to_the_other_half() -> None:
    rig = Rig()
    rig.load(assemble(STOP), first=0x101)
    rig.load(assemble("mvi SEQADDR+1, 1"))
    rig.run()
    assert rig.sequencer.pc == 0x102


def test_return_overrides_a_write_of_seqaddr() -> None:
    rig = ran("call sub\njmp end\nmvi 0x20, 1\nsub: mvi SEQADDR, 2 ret\nend: nop")
    assert rig.registers.plain[0x20] == 0


def test_last_instruction_is_followed_by_the_first() -> None:
    rig = Rig()
    rig.load(assemble(STOP))
    rig.load(assemble("inc 0x20"), first=0x1FF)
    rig.write(reg.SEQADDR0, 0xFF)
    rig.write(reg.SEQADDR1, 1)
    rig.run()
    assert (rig.registers.plain[0x20], rig.sequencer.pc) == (1, 1)


@pytest.mark.parametrize("operation", [6, 7])
def test_illegal_opcode_is_told_and_does_nothing_else(operation: int) -> None:
    rig = Rig()
    rig.load([operation << 25 | 0x21 << 16 | 0x06 << 8 | 0xFF])
    rig.run()
    assert (rig.log, rig.counter) == ([("illegal", 1)], 0)


def test_faildis_makes_an_illegal_opcode_pass() -> None:
    rig = Rig()
    rig.load([6 << 25, *assemble(STOP)])
    rig.write(reg.SEQCTL, reg.FAILDIS)
    rig.run()
    assert rig.log == [("pause", 2)]
