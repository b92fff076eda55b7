"""Runs random guests in a child process and finds what must not be: death, hanging, exceptions."""

from __future__ import annotations

import gzip
import json
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from tests.fuzz.child import TIMEOUT_S, image_of

ROOT = Path(__file__).parents[2]
REGRESSIONS = Path(__file__).parent / "regressions"
HANG_S = 10 * TIMEOUT_S  # of processor time
PATIENCE_S = 60.0  # of the clock on the wall, on a busy host
START_S = 30.0  # for the child's imports, on a busy host


class Failure(NamedTuple):
    """A guest that took the monitor down, and how."""

    engine: str
    source: str
    why: str

    def __str__(self) -> str:
        return f"{self.source} on {self.engine}: {self.why}"


class Runner:
    """One child process, started again when a guest has ended it."""

    def __init__(self, engine: str, setup: str = "host") -> None:
        self.engine, self.setup = engine, setup
        self.ends: dict[str, int] = {}
        self._child: subprocess.Popen[str] | None = None
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - lives as long as the runner

    def run(self, source: str) -> Failure | None:
        """Run one guest; return what is wrong, if anything is."""
        fresh = self._child is None or self._child.poll() is not None
        child = self._start() if fresh else self._child
        assert child is not None
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(f"{self.engine} {self.setup} {source}\n")
        child.stdin.flush()
        ready, _, _ = select.select([child.stdout], [], [], PATIENCE_S + (START_S if fresh else 0))
        if not ready:
            child.send_signal(signal.SIGABRT)
            child.wait()
            return self._failure(source, f"still running after {PATIENCE_S} s\n{self._stderr()}")
        line = child.stdout.readline()
        if not line:
            return self._failure(source, self._death(child.wait()))
        answer = json.loads(line)
        if "error" in answer:
            return self._failure(source, answer["error"])
        self.ends[answer["end"]] = self.ends.get(answer["end"], 0) + 1
        if answer["took"] > HANG_S:
            return self._failure(source, f"took {answer['took']:.2f} s of processor time\n{self._stderr()}")
        return None

    def _start(self) -> subprocess.Popen[str]:
        self._errors.seek(0)
        self._errors.truncate()
        self._child = subprocess.Popen(
            [sys.executable, "-m", "tests.fuzz.child"],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True,
        )  # fmt: skip
        return self._child

    def _failure(self, source: str, why: str) -> Failure:
        return Failure(f"{self.engine}/{self.setup}", source, why)

    def _death(self, code: int) -> str:
        name = signal.Signals(-code).name if code < 0 else f"status {code}"
        return f"the process died of {name}\n{self._stderr()}"

    def _stderr(self) -> str:
        self._errors.seek(0)
        return self._errors.read()[-2000:]

    def close(self) -> None:
        """End the child."""
        if self._child is not None:
            assert self._child.stdin is not None
            assert self._child.stdout is not None
            self._child.stdin.close()
            self._child.wait(PATIENCE_S)
            self._child.stdout.close()
        self._errors.close()


def run_all(engine: str, sources: Iterable[str], setup: str = "host") -> tuple[list[Failure], dict[str, int]]:
    """Run guests one after the other; failures are kept in `regressions/`."""
    runner = Runner(engine, setup)
    failures = []
    try:
        for source in sources:
            failure = runner.run(source)
            if failure is not None:
                keep(failure)
                failures.append(failure)
    finally:
        runner.close()
    return failures, runner.ends


def keep(failure: Failure) -> None:
    """Write a failed guest where `make test` replays it."""
    if failure.source.startswith("file:"):
        return
    name = failure.source.replace(":", "-") + ".img.gz"
    (REGRESSIONS / name).write_bytes(gzip.compress(image_of(failure.source), mtime=0))


def main() -> None:
    """`python -m tests.fuzz.runner ENGINE[/SETUP] SOURCE...`; a seed may be a range, `blind:1-100`."""
    engine, _, setup = sys.argv[1].partition("/")
    runner = Runner(engine, setup or "host")
    total = 0
    for argument in sys.argv[2:]:
        kind, _, what = argument.partition(":")
        first, dash, last = what.partition("-")
        seeds = range(int(first), int(last) + 1) if dash and first.isdigit() else (what,)
        for seed in seeds:
            total += 1
            failure = runner.run(f"{kind}:{seed}")
            if failure is not None:
                print(failure, flush=True)
    print(total, "guests", runner.ends)
    runner.close()


if __name__ == "__main__":
    main()
