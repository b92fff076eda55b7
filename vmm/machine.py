"""A machine: memory, processor and board put together, run, watched and shown.

machine = Machine(MachineConfig(hd=(DriveConfig(path="disk.vhd"),)))
result = machine.run(until="login:", timeout_s=60)
print(machine.serial_output(0), machine.registers()["eip"], machine.exits)
"""

from __future__ import annotations

import mmap
import select
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from devices.backplane import Tracer
from vmm.board import Board, Fittings, Outside
from vmm.bus import PortBus
from vmm.clock import NEVER_NS, HostTime, MachineClock, host_ns, wall_clock_s
from vmm.config import MachineConfig
from vmm.cpu.engine import StopReason
from vmm.cpu.named import named_registers
from vmm.cpu.processor import Processor
from vmm.cpu.ring import ExitRing
from vmm.errors import EngineError
from vmm.exits import ExitCounts, ExitReporter
from vmm.memory import SHADOW_END, Memory, no_engine
from vmm.outputs import Output
from vmm.power_on import LEGACY_BIOS, ROM_END, Drives, cmos_contents, processor_options, read_rom
from vmm.run_result import RunResult
from vmm.start import starter_for
from vmm.techniques.para.introduction import introduce
from vmm.techniques.registry import technique_of
from vmm.trace.events import ExitCount, TimingTracer

if TYPE_CHECKING:
    from vmm.trace.instructions import InstructionRecorder

POLL_NS: Final = 10_000_000  # how often the world outside is looked at
IDLE_POLL_NS: Final = 50_000_000  # and while the guest sleeps and nothing can wake the monitor
FLUSH_NS: Final = 5_000_000_000  # the age of a write that the death of the process may cost
SERIAL_PORTS: Final = 2
Until = Callable[[], bool] | str | bytes | None


class Machine:
    """One virtual PC. Use as a context manager, or call `close`."""

    def __init__(
        self,
        config: MachineConfig,
        *,
        tracer: Tracer | None = None,
        ring: ExitRing | mmap.mmap | None = None,
        devices_tracer: Tracer | None = None,
    ) -> None:
        self.config = config.with_places().check()
        self._virtual = self.config.clock == "virtual"
        self.serial = [Output() for _ in range(SERIAL_PORTS)]  # what each port has sent
        self.parallel = Output()  # what was printed
        self.debug = Output()  # what was written to ports E9h and 402h
        self._wanted = b""
        self._found = False
        self._result: RunResult | None = None
        self._refused: RunResult | None = None  # what the technique cannot run
        self._reset_wanted: str | None = None
        self._asleep = self.paused = False  # asleep after HLT: the processor is not run
        self._last: tuple[dict[str, ExitCount], dict[str, int]] | None = None  # once closed
        self.wait_fds: list[int] = []
        self.drives = Drives(self.config)
        try:
            self._build(tracer, devices_tracer, ring if isinstance(ring, ExitRing) else ExitRing(ring))
        except BaseException:
            self.drives.close()
            raise

    def _build(self, tracer: Tracer | None, devices_tracer: Tracer | None, ring: ExitRing) -> None:
        config = self.config
        self.memory = Memory(config.memory_bytes)
        kind = technique_of(config)
        if kind.hidden_bytes:
            self.memory.add_monitor(kind.hidden_bytes)
        self.bus = PortBus()
        self._host_time = HostTime()
        self.clock = MachineClock(self._virtual_now_ns if self._virtual else self._host_time)
        vga_rom = None if config.vgabios is None else read_rom(config.vgabios, "video BIOS", 512, 64 * 1024)
        outside = Outside(
            set_interrupt=lambda level: None if self._building else self.processor.live.set_interrupt(level),
            set_a20=lambda enabled: None if self._building else self._set_a20(enabled),
            request_reset=self._request_reset,
            on_exit=self._on_exit,
            on_serial=lambda number, byte: self._take(self.serial[number], byte),
            on_debug=lambda byte: self._take(self.debug, byte),
            raise_nmi=lambda: self.processor.live.raise_nmi(),
            tracer=TimingTracer(devices_tracer, self.clock) if devices_tracer is not None else None,
        )
        self.starter = starter_for(self)
        fittings = Fittings(
            config.power_on_time_s(wall_clock_s()),
            cmos_contents(config, self.drives),
            self.drives.by_place,
            self.drives.floppies,
            vga_rom,
            (lambda byte: self._take(self.parallel, byte)) if config.parallel is not None else None,
            self.starter.option_rom,
            config.apic,
            self.drives.adapters,
        )
        self.memory.add_rom(ROM_END - len(self.starter.rom), self.starter.rom)
        self._building = True  # the chips, which drive a processor that is not there yet
        self.board = Board(self.memory, self.bus, self.clock, outside, fittings)
        self._building = False
        options = processor_options(config, self.board.apics)
        now = None if self._virtual else self._host_time
        self.processor = Processor(self.memory, self.bus, self.board.acknowledge, now, options, ring)
        self.clock.on_earlier = self.processor.live.deadline_moved
        self.technique = kind(self.processor, self.memory)
        introduce(self.technique, self.drives.first_disk, lambda: self.exits, config.exit_leaf)
        self.technique.on_unsupported = self._refuse
        self._counts = ExitCounts(self.processor.live, self.technique)
        self.trace_exits(tracer)
        self.starter.connect()
        self._power_on()

    def _virtual_now_ns(self) -> int:
        processor = getattr(self, "processor", None)
        return 0 if processor is None else processor.virtual_now_ns()

    def count_service(self, spent_ns: int) -> None:
        """Book one trap-port write as a firmware service."""
        self._counts.firmware.count += 1
        self._counts.firmware.host_ns += spent_ns

    def _power_on(self) -> None:
        """Fill the shadow below 1 MiB from the ROM and start whoever runs first."""
        rom = self.starter.rom[-LEGACY_BIOS:]
        self.memory.ram[SHADOW_END - len(rom) : SHADOW_END] = rom
        self.memory.on_write(SHADOW_END - len(rom), len(rom))
        self.starter.start()
        self.technique.start()

    # -- what the board reports

    def _set_a20(self, enabled: bool) -> None:
        self.processor.live.set_a20(enabled)
        self.technique.a20_changed()

    def _request_reset(self, reason: str) -> None:
        self._reset_wanted = reason
        self.processor.live.stop()

    def _on_exit(self, value: int) -> None:
        self._end(RunResult("exit", value))

    def _refuse(self, why: str) -> None:
        self._refused = RunResult("unsupported", detail=why)
        self._end(self._refused)

    def report_no_boot(self, why: str) -> None:
        """End the run: the firmware has found nothing to start."""
        self._end(RunResult("no-boot", detail=why))

    def _take(self, stream: Output, byte: int) -> None:
        stream.append(byte)
        if self._wanted and byte == self._wanted[-1] and stream.endswith(self._wanted):
            self._end(RunResult("until"))

    def _end(self, result: RunResult) -> None:
        if self._result is None:
            self._result = result
        self.processor.live.stop()

    # -- running

    def run(self, until: Until = None, timeout_s: float | None = None) -> RunResult:
        """Run until the guest ends, `until` comes true, or `timeout_s` of host time has passed.

        `until` is text to appear on a serial or debug port, or a function asked about every 10 ms.
        Calling `run` again goes on where it stopped, except after a triple fault or an exit.
        """
        self._require_open()
        self._result = self._refused  # for good
        self._wanted = (
            until.encode() if isinstance(until, str) else until if isinstance(until, bytes) else b""
        )
        if not (until is None or isinstance(until, (str, bytes)) or callable(until)):
            raise TypeError(f"until is {until!r}: expected text, bytes, a function or None")
        asked = until if callable(until) else None
        give_up = NEVER_NS if timeout_s is None else host_ns() + int(timeout_s * 1e9)
        poll = host_ns()
        flush = poll + FLUSH_NS
        engine, clock = self.processor.live, self.clock
        while self._result is None:
            if not self.paused:
                clock.run_due()
            now = host_ns()
            if now >= poll:
                poll = now + POLL_NS
                if now >= flush:
                    self.drives.flush_quietly()
                    flush = host_ns() + FLUSH_NS
                if now >= give_up:
                    self._result = RunResult("timeout")
                    break
                if asked is not None and asked():
                    self._result = RunResult("until")
                    break
            if self.paused:
                if select.select(self.wait_fds, [], [], IDLE_POLL_NS / 1e9)[0]:
                    poll = 0
            elif self._asleep:
                if self._sleep(min(give_up, now + IDLE_POLL_NS)):
                    poll = 0
            else:
                # of virtual time, so that no return for the host's sake shifts what the guest sees
                poll_ns = (clock.now_ns() // POLL_NS + 1) * POLL_NS
                self._after(engine.run(min(clock.next_deadline_ns(), poll_ns)))
        self.drives.flush()
        return self._result

    def run_until(self, until: Until, timeout_s: float | None = None) -> RunResult:
        """Run until `until` comes true: see `run`."""
        return self.run(until, timeout_s)

    def _after(self, stopped: StopReason) -> None:
        if self._reset_wanted is not None:
            self._reset()
        elif stopped is StopReason.TRIPLE_FAULT:
            self._end(RunResult("triple-fault"))
        elif stopped is StopReason.HALTED and not self._ended:
            self._fall_asleep()

    @property
    def _ended(self) -> bool:
        """Whether the guest has ended the run; what it does in the rest of that block is not looked at."""
        return self._result is not None and self._result.reason == "exit"

    def _reset(self) -> None:
        reason, self._reset_wanted = self._reset_wanted, None
        if self._reporter is not None:
            self._reporter.note("reset", str(reason))
        self.board.reset()
        self.processor.reset()
        self._set_a20(True)
        self._asleep = False
        self._power_on()

    def _fall_asleep(self) -> None:
        """HLT: from now on `_sleep` is run instead of the processor, unless nothing can wake it."""
        self._counts.hlt.count += 1
        if self._reporter is not None and self.processor.engine_name == "accelerated":
            self._reporter.note("hlt", "asleep")
        live = self.processor.live
        if self.technique.interruptible or live.nmi_pending:
            self._asleep = True
        else:
            self._end(RunResult("halted"))

    def _sleep(self, until_ns: int) -> bool:
        """Let virtual time pass until something wakes the processor; True if the world outside calls.

        The host's time is asked under the virtual clock too: deadlines that wake nobody may go on for ever.
        """
        began = now = host_ns()
        called = False
        while self._asleep and not called and now < until_ns and self._result is None:
            if self._wakes():
                self._asleep = False
            elif self._virtual:
                self._skip_to_deadline()
            else:
                wait = min(self.clock.next_deadline_ns() - self.clock.now_ns(), until_ns - now)
                called = wait > 0 and bool(select.select(self.wait_fds, [], [], wait / 1e9)[0])
            self.clock.run_due()
            now = host_ns()
        self._counts.hlt.host_ns += now - began
        return called

    def _wakes(self) -> bool:
        """Whether the processor has something to do: an interrupt, an NMI, or a reset to be carried out."""
        return self.board.intr.level or self._reset_wanted is not None or self.processor.live.nmi_pending

    def _skip_to_deadline(self) -> None:
        deadline = self.clock.next_deadline_ns()
        if deadline == NEVER_NS:
            self._end(RunResult("halted"))
        else:
            self.processor.live.skip_to(deadline)

    # -- talking to the guest

    def send_serial(self, data: bytes, number: int = 0) -> None:
        """Let bytes arrive at a serial port."""
        self.board.serial[number].receive(data)

    def send_keys(self, text: str) -> None:
        """Type text on the keyboard."""
        self.board.keyboard.type_text(text)

    def pause(self) -> None:
        """Have neither the processor nor time run; `run` then only looks at the world outside."""
        self._host_time.stop()
        self.paused = True

    def resume(self) -> None:
        """Go on where `pause` stopped."""
        self._host_time.go_on()
        if self.paused and not self._virtual:
            self.processor.live.time_moved()
        self.paused = False

    def nmi(self) -> None:
        """Pulse the NMI line."""
        self._require_open()
        self.board.nmi()

    def reset(self) -> None:
        """Press the reset button; it takes effect when the machine runs."""
        self._require_open()
        self._request_reset("reset button")

    # -- looking at it

    @property
    def engine_name(self) -> str:
        """`accelerated` or `portable`."""
        return self.processor.engine_name

    def now_ns(self) -> int:
        """Return virtual time since power-on."""
        return self.clock.now_ns()

    @property
    def exits(self) -> dict[str, ExitCount]:
        """Exits so far, by reason."""
        return self._counts.table() if self._last is None else self._last[0]

    def serial_output(self, number: int = 0) -> bytes:
        """Return the newest `KEPT_BYTES` or more a serial port has sent."""
        return self.serial[number].since(0)

    def debug_output(self) -> bytes:
        """Return the newest `KEPT_BYTES` or more written to ports E9h and 402h."""
        return self.debug.since(0)

    def screen_text(self) -> list[str]:
        """Return the rows of the text screen; none in a graphics mode."""
        return self.board.vga.text_screen().text().splitlines() if not self.board.vga.is_graphics else []

    def screenshot(self, path: str | Path) -> None:
        """Write the screen as a PNG."""
        from vmm.display.screenshot import render_png

        render_png(self.board.vga, Path(path))

    def registers(self) -> dict[str, int]:
        """Return the processor's registers by name."""
        if self._last is not None:
            return self._last[1]
        return named_registers(self.technique.view)

    def trace_exits(self, tracer: Tracer | None) -> None:
        """Have `tracer.emit` called with an `Exit` after each exit from now on; None ends that."""
        engine = self.processor.live
        self._reporter = None if tracer is None else ExitReporter(engine, self.memory, tracer)
        engine.set_trace(self._reporter)
        self.technique.tell(self._reporter)

    def trace_instructions(self, recorder: InstructionRecorder) -> None:
        """Report every instruction to `recorder`; slow, and only before the first run."""
        from vmm.stepping import InstructionTracer

        InstructionTracer(self.processor.live, self.memory, recorder).install()

    def close(self) -> None:
        """Flush the disks and release everything; exits, registers and time stay to be read. Idempotent."""
        if self._last is not None:
            return
        with ExitStack() as cleanup:
            cleanup.callback(self.drives.close)
            cleanup.callback(self.processor.live.close)
            now_ns, registers = self.now_ns(), self.registers()
            self._last = (self._counts.table(), registers)
            self.clock.now_ns = lambda: now_ns
            self.clock.on_earlier = None
            self.memory.on_write = no_engine

    def _require_open(self) -> None:
        if self._last is not None:
            raise EngineError("the machine is closed")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
