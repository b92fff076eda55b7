"""The coverage-guided fuzzer of VHD images, on atheris: footer, header, BAT, locators, chains.

    python -m tests.fuzz.fuzz_vhd -max_total_time=600 tests/fuzz/corpus/vhd

takes libFuzzer's options. What it finds it leaves as `crash-*`; put that into the corpus, which
`tests/fuzz/test_vhd.py` replays. `--make-corpus DIR` writes the seeds.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["disks"]):
    from tests.fuzz.vhd_target import run
from tests.fuzz.vhd_seeds import seeds


def main() -> None:
    if sys.argv[1:2] == ["--make-corpus"]:
        directory = Path(sys.argv[2])
        for name, data in seeds().items():
            (directory / name).write_bytes(data)
        return
    atheris.Setup(sys.argv, run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
