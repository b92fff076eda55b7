"""Time of a machine on both engines: timer interrupts, sleep, and the virtual clock."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.vmm.cpu.engine_rig import both_engines
from tests.vmm.machine_rig import TICK, TIMER, Bench, Tracer
from vmm.cpu import engine as engine_module

pytestmark = both_engines


@pytest.fixture
def bench(tmp_path: Path, engine: str) -> Bench:
    return Bench(tmp_path, engine)


def test_hlt_sleeps_until_the_timer_s_interrupt(bench: Bench) -> None:
    body = TIMER + "again: hlt\n cmp word [0x500], 20\n jb again\n mov al, 1\n out 0xf4, al\n hlt" + TICK
    with bench.machine(body) as machine:
        began = time.process_time()
        assert machine.run(timeout_s=20).reason == "exit"
        assert machine.now_ns() > 15_000_000
        assert machine.exits["hlt"].count >= 15
        assert time.process_time() - began < 2


def test_a_busy_guest_is_interrupted_on_time(bench: Bench) -> None:
    body = TIMER + "again: inc ecx\n cmp word [0x500], 30\n jb again\n mov al, 1\n out 0xf4, al\n hlt" + TICK
    with bench.machine(body) as machine:
        assert machine.run(timeout_s=20).reason == "exit"
        assert machine.exits["interrupt"].count >= 30


def test_nmi_wakes_and_is_delivered(bench: Bench) -> None:
    body = """
        mov word [2 * 4], nmi
        mov word [2 * 4 + 2], 0xf000
        sti
        say 's'
        hlt
        jmp $
    nmi:
        mov al, 7
        out 0xf4, al
        hlt"""
    with bench.machine(body) as machine:
        machine.run(until="s", timeout_s=20)
        machine.run(timeout_s=0.05)
        machine.nmi()
        assert machine.run(timeout_s=20).exit_code == 7


def test_what_is_sent_to_the_serial_port_arrives(bench: Bench) -> None:
    body = """
        mov dx, 0x3fd
    wait_: in al, dx
        test al, 1
        jz wait_
        mov dx, 0x3f8
        in al, dx
        inc al
        out dx, al
        jmp start"""
    with bench.machine(body) as machine:
        machine.send_serial(b"HAL")
        assert machine.run(until="IBM", timeout_s=20).reason == "until"


def test_runs_under_the_virtual_clock_have_the_same_exits_however_busy_the_host_is(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Port accesses, interrupts, time stamps, sleep: all at the same virtual time, in the same order."""
    body = (
        TIMER
        + """
    again:
        rdtsc
        out 0x80, al
        mov cx, 300
        loop $
        in al, 0x40
        out 0x80, al
        test word [0x500], 1
        jz again
        hlt
        cmp word [0x500], 12
        jb again
        mov al, 1
        out 0xf4, al
        hlt"""
        + TICK
    )
    traces = []
    for patience_ns in (1_000_000_000, 50_000_000, 20_000, 0):
        monkeypatch.setattr(engine_module, "PATIENCE_NS", patience_ns)
        monkeypatch.setattr(engine_module, "HOOK_AGE_NS", patience_ns)
        tracer = Tracer()
        with bench.machine(body, tracer=tracer, clock="virtual") as machine:
            assert machine.run(timeout_s=30).reason == "exit"
            ended = machine.now_ns()
        seen = [(e.time_ns, e.cs, e.ip, e.reason, e.detail) for e in tracer.exits]
        traces.append((ended, seen))
    assert len(traces[0][1]) > 50
    assert traces == [traces[0]] * 4


def test_virtual_time_does_not_wait_for_the_host(bench: Bench) -> None:
    """Ten seconds of the guest's sleep."""
    body = TIMER + "again: hlt\n cmp word [0x500], 10000\n jb again\n mov al, 1\n out 0xf4, al\n hlt" + TICK
    with bench.machine(body, clock="virtual") as machine:
        assert machine.run(timeout_s=60).reason == "exit"
        assert 9_900_000_000 < machine.now_ns() < 10_200_000_000


def test_under_the_virtual_clock_hlt_without_any_deadline_ends_the_run(bench: Bench) -> None:
    body = "mov al, 0xff\n out 0x21, al\n out 0xa1, al\n sti\n hlt\n jmp $"
    with bench.machine(body, clock="virtual") as machine:
        assert machine.run(timeout_s=2).reason in ("halted", "timeout")
