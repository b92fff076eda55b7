"""Hostile VHD images, by coverage-guided fuzzing: the corpus, a short run, ten minutes in `verify`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.vhd_seeds import seeds
from tests.fuzz.vhd_target import run
from tests.oracles import MissingError

ROOT = Path(__file__).resolve().parents[2]
CORPUS = ROOT / "tests" / "fuzz" / "corpus" / "vhd"
ENDS = {
    "fixed": "written",
    "dynamic": "written",
    "dynamic-plain": "written",
    "empty": "written",
    "old-footer": "written",
    "copy-only": "read",
    "chain-2": "written",
    "chain-3": "written",
    "chain-on-fixed": "written",
    "circle": "refused",
    "other-parent": "written",
    "escape": "refused",
    "device": "refused",
    "network": "refused",
    "url": "refused",
    "url-broken": "refused",
}


def test_every_seed_comes_as_far_as_it_should() -> None:
    assert {name: run(data) for name, data in seeds().items()} == ENDS


def test_everything_ever_found_stays_mended() -> None:
    inputs = sorted(CORPUS.iterdir())
    assert len(inputs) >= len(ENDS)
    for path in inputs:
        run(path.read_bytes())


def fuzz(until: str, work: Path, limit_s: int) -> str:
    """Run libFuzzer `until` as its option says; return its report."""
    try:
        import atheris  # noqa: F401
    except ImportError:
        raise MissingError("atheris is missing (pip install atheris)") from None
    found = work / "corpus"
    found.mkdir()
    command = [
        sys.executable,
        "-m",
        "tests.fuzz.fuzz_vhd",
        until,
        "-rss_limit_mb=1024",
    ]
    command += [
        "-malloc_limit_mb=96",
        "-timeout=20",
        f"-artifact_prefix={work}/",
        "-seed=1",
        "-max_len=40000",
    ]
    # by way of a shell, which forks: getrusage(2) counts what exec replaced as memory of the new program
    ended = subprocess.run(
        ["sh", "-c", '"$@"; exit $?', "sh", *command, str(found), str(CORPUS)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=limit_s,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        errors="replace",
    )
    assert ended.returncode == 0, ended.stderr[-4000:]
    return ended.stderr


def runs_of(report: str) -> int:
    """Return how many inputs libFuzzer ran, by its last line."""
    return int(report.rsplit("Done ", 1)[1].split()[0])


def test_a_short_run_finds_nothing(tmp_path: Path) -> None:
    assert runs_of(fuzz("-runs=200", tmp_path, 250)) == 200


@pytest.mark.verify
def test_ten_minutes_find_nothing(tmp_path: Path) -> None:
    report = fuzz("-max_total_time=600", tmp_path, 800)
    print(report[-600:])
    assert runs_of(report) > 5_000
