"""The instruction trace: a hook of the engine before every instruction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vmm.cpu import registers as r
from vmm.cpu import state as s
from vmm.cpu.engine import Engine
from vmm.exits import code_at
from vmm.memory import Memory
from vmm.techniques.base import mode_of
from vmm.trace.events import Instruction

if TYPE_CHECKING:
    from vmm.trace.instructions import InstructionRecorder


class InstructionTracer:
    """Feeds an `InstructionRecorder`."""

    def __init__(self, engine: Engine, memory: Memory, recorder: InstructionRecorder) -> None:
        self._engine = engine
        self._memory = memory
        self._recorder = recorder

    def install(self) -> None:
        """Hook every instruction."""
        self._engine.hook_instructions(self._step)

    def _step(self, linear: int) -> None:
        recorder = self._recorder
        if recorder.finished:
            return
        view = self._engine.fetch()
        state = view.state
        if not recorder.holds_one and not recorder.wants(linear, state.hflags & s.HF_CPL):
            return
        instruction = Instruction(
            time_ns=self._engine.wiring.now_ns(),
            cs=view.segs[r.CS].selector,
            ip=view.rip,
            cpl=view.cpl,
            mode=mode_of(view),
            code=code_at(view, self._memory),
        )
        recorder.step(linear, instruction, self._registers(view))

    def _registers(self, view: Any) -> dict[str, int]:  # noqa: ANN401
        wide = bool(view.efer & r.EFER_LMA)
        if wide:
            values = {name: view.regs[i] for i, name in enumerate(r.GPR_NAMES)}
        else:
            values = {f"e{name[1:]}": view.regs[i] & 0xFFFF_FFFF for i, name in enumerate(r.GPR_NAMES[:8])}
        values["eflags"] = self._engine.read_rflags()
        for i, name in enumerate(r.SEGMENT_NAMES):
            values[name] = view.segs[i].selector
        return values
