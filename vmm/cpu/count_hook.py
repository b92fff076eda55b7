"""The hook behind Unicorn's `count=`, and the list it keeps of every instruction it was translated into."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import unicorn

if TYPE_CHECKING:
    from vmm.cpu.engine import Engine


def drop_count_hook(engine: Engine) -> None:
    """Let hook and list go; the next run with `count=` makes new ones. The guest does not move.

    Unicorn drops them when told to run without: here up to an exit at the very first instruction,
    which it carries out as a HLT.
    """
    state = engine.fetch().state
    armed, state.intercept = state.intercept, 0
    engine.commit()
    engine.uc.ctl_set_exits([engine.view.code_address()])
    with contextlib.suppress(unicorn.UcError):  # no code there: the run will meet it again
        engine.uc.emu_start(state.rip, 0)
    engine.uc.ctl_set_exits([])
    state.intercept = armed
    engine.commit()
