"""Runs a module of ours in a process of its own, JSON in and out: a dying engine takes its process along."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Final, NamedTuple, NoReturn, TypeVar

import msgspec

from vmm.cli.process import child_command

GRACE_S: Final = 10.0  # what a child may take beyond its time-out


Question = TypeVar("Question", bound=msgspec.Struct)


class Answer(NamedTuple):
    """What the child wrote, or why it wrote nothing."""

    data: bytes
    fault: str = ""


def ask(module: str, question: bytes, timeout_s: float) -> Answer:
    """Run `module`; give it `question` on stdin."""
    command = [*child_command()[:-1], module]
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter
            command, input=question, capture_output=True, timeout=timeout_s + GRACE_S, check=False
        )
    except subprocess.TimeoutExpired:
        return Answer(b"", f"did not stop at its time-out of {timeout_s:g} s and was killed")
    said = done.stderr.decode(errors="replace")
    if done.returncode < 0:
        return Answer(b"", f"the engine died: signal {-done.returncode}")
    if done.returncode:
        return Answer(b"", f"this is our bug: {(said.strip().splitlines() or ['it said nothing'])[-1]}")
    sys.stderr.write(said)
    return Answer(done.stdout)


def answer(question: type[Question], work: Callable[[Question], object]) -> NoReturn:
    """Be the child: read a question of this type on stdin, write what `work` makes of it, and end."""
    from vmm.cli.child import end_with_parent

    end_with_parent()
    asked = msgspec.convert(json.loads(sys.stdin.buffer.read()), question)
    sys.stdout.buffer.write(msgspec.json.encode(work(asked)))
    sys.stdout.flush()
    os._exit(0)  # as in vmm.cli.child
