"""Instructions on which QEMU's translator calls abort(), and other aborts: docs/internals/unicorn.md C28."""

from __future__ import annotations

import ctypes
import platform
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.vmm.cpu.engine_rig import both_engines, long, prot, real, run
from vmm.cpu import layout, translator_abort
from vmm.cpu import registers as r
from vmm.errors import EngineError

ROOT = Path(__file__).parents[3]
KEEPS_ITS_PLACE = 0x1234_5678
# LOCK before BT, BTS, BTR, BTC of a register, by a register and by a number, [SDM2A] "BT", "LOCK"
LOCKED = {
    "bt-ax": "0xf0, 0x0f, 0xa3, 0xc2",
    "bts-ax": "0xf0, 0x0f, 0xab, 0xc2",
    "btr-ax": "0xf0, 0x0f, 0xb3, 0xc2",
    "btc-ax": "0xf0, 0x0f, 0xbb, 0xc2",
    "bt-3": "0xf0, 0x0f, 0xba, 0xe2, 3",
    "bts-3": "0xf0, 0x0f, 0xba, 0xea, 3",
    "btr-3": "0xf0, 0x0f, 0xba, 0xf2, 3",
    "btc-3": "0xf0, 0x0f, 0xba, 0xfa, 3",
    "bts-ax-of-the-other-size": "0x66, 0xf0, 0x0f, 0xab, 0xc2",
}
locked = pytest.mark.parametrize("instruction", LOCKED.values(), ids=LOCKED)

# LOCK BTS at the start of a block and, behind `before`, in the midst of one that works out no address
GUEST = """
    mov dword [resume], {resume}
    mov dword [tried], {tried}
    mov edx, 0x12345678
    mov eax, 3
    mov ecx, 0
    jmp start
start:
    {before}
tried_at:
    db {instruction}
resume_at:
    log ecx
    log edx
    finish
"""


def guest(instruction: str, before: str = "") -> str:
    return GUEST.format(instruction=instruction, before=before, resume="resume_at", tried="tried_at")


@both_engines
@locked
def test_lock_bt_of_a_register_is_ud_in_protected_mode(engine: str, instruction: str) -> None:
    rig = run(engine, prot(guest(instruction)))
    assert (rig.briefs, rig.log) == ([(r.UD, 0, 0)], [0, KEEPS_ITS_PLACE])


@both_engines
@locked
def test_lock_bt_of_a_register_is_ud_in_64_bit_mode(engine: str, instruction: str) -> None:
    rig = run(engine, long(guest(instruction)))
    assert (rig.briefs, rig.log) == ([(r.UD, 0, 0)], [0, KEEPS_ITS_PLACE])


@both_engines
def test_lock_bts_of_r10_is_ud(engine: str) -> None:
    rig = run(engine, long(guest("0xf0, 0x4d, 0x0f, 0xab, 0xd2")))
    assert rig.briefs == [(r.UD, 0, 0)]


@both_engines
@locked
def test_lock_bt_of_a_register_is_ud_in_real_mode(engine: str, instruction: str) -> None:
    """The handler logs the IP it was given."""
    rig = run(
        engine,
        real(f"""
        mov word [6 * 4], handler
        mov word [6 * 4 + 2], 0
        mov edx, 0x12345678
        jmp locked_bt
    locked_bt:
        db {instruction}
        log 0xbad
        finish
    handler:
        pop bx
        sub bx, locked_bt
        movzx ebx, bx
        log ebx
        log edx
        finish"""),
    )
    assert rig.log == [0, KEEPS_ITS_PLACE]


@both_engines
@pytest.mark.parametrize(("before", "count"), [("nop", 0), ("inc ecx\n nop", 1), ("times 40 inc ecx", 40)])
def test_what_stands_before_it_in_its_block_is_carried_out_once(engine: str, before: str, count: int) -> None:
    """Unicorn translates whole blocks: they are taken apart up to the instruction."""
    rig = run(engine, prot(guest(LOCKED["bts-ax"], before)))
    assert rig.briefs == [(r.UD, 0, 0)]
    assert rig.log == [count, KEEPS_ITS_PLACE]


@both_engines
@pytest.mark.parametrize("virtual_clock", [False, True])
def test_a_guest_may_do_so_for_ever(engine: str, virtual_clock: bool) -> None:
    rig = run(
        engine,
        prot(f"""
        mov dword [resume], next_turn
        mov esi, 300
        jmp turn
    turn:
        db {LOCKED["btc-ax"]}
    next_turn:
        dec esi
        jnz turn
        finish"""),
        virtual_clock=virtual_clock,
    )
    assert [frame.vector for frame in rig.frames] == [r.UD] * 300


# -- aborts elsewhere

# CALL through a gate from ring 3 while TR is of a busy type: QEMU's helper aborts, as C19 says
HELPER_ABORTS = """
import sys
sys.path.insert(0, {root!r})
from tests.vmm.cpu.engine_rig import Rig, prot
from tests.vmm.cpu.test_translator_abort import LOCKED, guest
rig = Rig({engine!r})
def make_busy(value):
    rig.engine.fetch().state.tr.flags = 0x8B00
    rig.engine.commit()
rig.service = make_busy
rig.load(prot('''
    mov dword [resume], behind
    mov dword [tried], locked_bt
    jmp locked_bt
locked_bt:
    db ''' + LOCKED["bts-ax"] + '''
behind:
    mov dword [resume], 0
    mov dword [GDT_AT + 0x48], (KCODE << 16) | (called - $$ + 0x7c00)
    mov dword [GDT_AT + 0x4c], 0xec00
    log 0x1234
    out SERVICE, al
    to_ring3 user
user:
    call 0x48:0
called:
    log 0x4321
    finish
'''))
class Shown(list):
    def append(self, value):
        print(value, flush=True)
rig.log = rig.words = Shown()
rig.run()
"""


def end_of(script: str) -> tuple[int, str]:
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout + done.stderr


@both_engines
def test_an_abort_of_a_helper_ends_the_process_still(engine: str) -> None:
    """Also behind a translator's that was survived: the guest reports that #UD, and comes to its CALL."""
    code, output = end_of(HELPER_ABORTS.format(root=str(ROOT), engine=engine))
    shown = output.split()
    assert (code, shown[:3], shown[8:]) == (-signal.SIGABRT, [str(r.UD), "0", "0"], [str(0x1234)]), output


def test_an_abort_of_python_ends_the_process_still() -> None:
    script = "from vmm.cpu import translator_abort as t; import os; assert t.survive(); os.abort()"
    code, output = end_of(script)
    assert code == -signal.SIGABRT, output


def test_an_abort_of_the_library_outside_a_run_ends_the_process_still() -> None:
    script = (
        "import ctypes; from vmm.cpu import translator_abort as t; assert t.survive();"
        "ctypes.CFUNCTYPE(None)(ctypes.c_uint64.from_address(t._slots(('abort',))[0]).value)()"
    )
    code, output = end_of(script)
    assert code == -signal.SIGABRT, output


def test_nothing_is_touched_on_another_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    slots = translator_abort._slots(translator_abort._FUNCTIONS)
    before = [ctypes.c_uint64.from_address(slot).value for slot in slots]
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert translator_abort.survive.__wrapped__() is False
    assert [ctypes.c_uint64.from_address(slot).value for slot in slots] == before


def test_a_library_that_makes_no_such_call_is_refused() -> None:
    with pytest.raises(EngineError, match="no call of uc_no_such_function to lead elsewhere"):
        translator_abort._slots(("abort", "uc_no_such_function"))


def test_a_library_of_another_layout_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "UC_INVALID_ERROR", 0x7654_3210)
    with pytest.raises(EngineError, match="invalid_error is not at"):
        translator_abort.survive.__wrapped__()
