"""Prefixes count in the length of SYSCALL and SYSENTER: Unicorn adds it to RIP after the hook."""

from __future__ import annotations

import pytest

from tests.vmm.cpu.engine_rig import both_engines, long, run
from tests.vmm.cpu.test_engine_syscall import MSRS_64
from vmm.cpu import registers as r

pytestmark = both_engines

PREFIXES = ("0x48", "0x66", "0x66, 0x66, 0x2e, 0x48")


@pytest.mark.parametrize("prefixes", PREFIXES)
def test_syscall_enters_at_lstar_and_returns_behind_itself(engine: str, prefixes: str) -> None:
    rig = run(
        engine,
        long(
            MSRS_64
            + f"""
        to_ring3 UCODE, user
    user:
        db {prefixes}, 0x0f, 0x05
    after:
        to_ring0 done
    kernel:
        mov rax, rcx
        sub rax, after
        out LOG, eax
        o64 sysret
    kernel32:
        ud2
    done:
        finish"""
        ),
    )
    assert (rig.log, rig.frames) == ([0], [])


@pytest.mark.parametrize("prefixes", PREFIXES)
def test_sysenter_enters_at_its_msr(engine: str, prefixes: str) -> None:
    rig = run(
        engine,
        long(f"""
        write_msr 0x174, 0, KCODE
        write_msr 0x175, 0, STACK - 64
        write_msr 0x176, 0, kernel
        to_ring3 UCODE, user
    user:
        db {prefixes}, 0x0f, 0x34
        ud2
    kernel:
        mov eax, cs
        out LOG, eax
        finish"""),
    )
    assert (rig.log, rig.frames) == ([0x08], [])


def test_a_refused_sysenter_faults_at_its_prefixes(engine: str) -> None:
    rig = run(
        engine,
        long("""
        to_ring3 UCODE, user
    user:
        try {db 0x66, 0x48, 0x0f, 0x34}
        to_ring0 done
    done:
        finish"""),
    )
    assert rig.briefs == [(r.GP, 0, 0)]
