"""Rerun every command the documentation shows and put what it prints today into the page.

A transcript is a block after a marker, in README.md, ARCHITECTURE.md and below docs/:

    <!-- transcript -->
    ```console
    $ trapline doctor
    ...
    ```

Lines with `$ ` are run, by bash, in one work directory for all pages; everything else in the block
is replaced by their output. The marker may say `head=N` and `tail=N` (how much of each output is
kept; a line `[...]` stands for the rest), `width=N` (longer lines are cut) and `status=N` (the status
that every command must end with, else 0). The work directory
holds what the pages speak of: `trapline` on the path, the boot program as selftest.vhd, Debian's
kernel and initramfs, SeaBIOS, a disk with Linux on it.

    .venv/bin/python docs/refresh_transcripts.py [PAGE...]        rewrite the pages (all of them)
    .venv/bin/python docs/refresh_transcripts.py --pictures       draw docs/images again
    .venv/bin/python docs/refresh_transcripts.py --lives          make the _generated of the chapters again
    .venv/bin/python docs/refresh_transcripts.py --list           only print the commands
"""

from __future__ import annotations

import argparse
import importlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parents[1]
BLOCK: Final = re.compile(
    r"(?P<marker><!-- transcript(?P<options>(?: \w+=\d+)*) -->\n)```console\n(?P<body>.*?)```\n", re.DOTALL
)
PROMPT: Final = "$ "
CUT: Final = "[...]"
WHOLE_TRACE: Final = "trapline run selftest.vhd -q --clock virtual --trace exits=trace.txt"
INSTALLER: Final = "usr/lib/debian-installer/images/12/i386/text/debian-installer/i386"
PICTURES: Final = {
    "selftest.png": "trapline run selftest.vhd -q --screenshot selftest.png",
    "snare.png": "trapline run guest:snare -q --expect 'passed' --send 'dir\\n' --expect 'free' "
    "--send 'run primes\\n' --expect 'sorted' --send 'ps\\n' --expect 'shell' --send 'mem\\n' "
    "--expect 'frames' --timeout 60 --screenshot snare.png",
    "installer.png": "trapline run --kernel installer/linux --initrd installer/initrd.gz --memory 512M "
    "--append 'acpi=off nolapic noapic vga=normal' -q --timeout 150 "
    "--screenshot installer.png; test $? -eq 4",
}
OF_PIP: Final = "WARNING: "  # about the host's package index, of no interest to a reader
TIMEOUT_S: Final = 1800  # of four boots, on a host that is busy
COLUMNS: Final = 100


class Transcript(NamedTuple):
    """One block of a page."""

    commands: list[str]
    head: int | None
    tail: int | None
    width: int | None
    status: int = 0


def pages() -> list[Path]:
    """Return every page that may hold transcripts."""
    return [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *sorted((ROOT / "docs").rglob("*.md"))]


def transcript_of(match: re.Match[str]) -> Transcript:
    """Read one block."""
    options = {name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", match["options"])}
    if unknown := options.keys() - {"head", "tail", "width", "status"}:
        raise ValueError(f"transcript option {', '.join(unknown)}: there are head, tail, width and status")
    commands: list[str] = []
    for line in match["body"].splitlines():
        if line.startswith(PROMPT):
            commands.append(line.removeprefix(PROMPT))
        elif commands and commands[-1].endswith("\\"):
            commands[-1] += "\n" + line
    return Transcript(
        commands, options.get("head"), options.get("tail"), options.get("width"), options.get("status", 0)
    )


def transcripts(page: Path) -> Iterator[Transcript]:
    """Yield the transcripts of a page."""
    for match in BLOCK.finditer(page.read_text(encoding="utf-8")):
        yield transcript_of(match)


def shortened(lines: list[str], transcript: Transcript) -> list[str]:
    """Return the lines that a page shows."""
    head, tail = transcript.head, transcript.tail
    if head is not None or tail is not None:
        head, tail = head or 0, tail or 0
        if len(lines) > head + tail + 1:
            lines = [*lines[:head], CUT, *(lines[-tail:] if tail else [])]
    if transcript.width is not None:
        lines = [
            line if len(line) <= transcript.width else line[: transcript.width - 1] + "…" for line in lines
        ]
    return lines


class Stage:
    """The work directory, filled with what the commands need the first time they need it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "bin").mkdir()
        command = folder / "bin" / "trapline"
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -P -m vmm.cli "$@"\n')
        command.chmod(0o755)
        self._prepared: set[str] = set()

    def run(self, command: str, status: int = 0) -> list[str]:
        """Run one command, which must end with `status`; return its lines without blanks at their ends."""
        for word, prepare in (
            ("selftest.vhd", self._self_test),
            ("snare.vhd", self._snare),
            ("installer/", self._installer),
            ("linux.vhd", self._linux_disk),
            ("vmlinuz", self._linux_files),
            ("bios", self._seabios),
            ("trace.txt", self._trace),
            ("make ", self._clone),
        ):
            if word in command and word not in self._prepared:
                self._prepared.add(word)
                prepare()
        environment = {
            **os.environ,
            "PATH": f"{self._folder / 'bin'}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "COLUMNS": str(COLUMNS),
            "NO_COLOR": "1",
            "LC_ALL": "C.UTF-8",
        }
        folder = self._folder / "trapline" if command.startswith("make ") else self._folder
        done = subprocess.run(  # noqa: S603 - the commands of our own pages
            ["/bin/bash", "-c", command],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=TIMEOUT_S,
            check=False,
        )
        if done.returncode != status:
            raise SystemExit(f"$ {command}\n{done.stdout.decode()}status {done.returncode}, not {status}")
        text = done.stdout.decode("utf-8", "replace").replace("\r", "")
        text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\x1bc", "", text)
        for folder in (self._folder, ROOT):
            text = text.replace(f"{folder}/", "")
        lines = [line.rstrip() for line in text.splitlines() if not line.startswith(OF_PIP)]
        while lines and not lines[-1]:
            lines.pop()
        return lines

    def picture(self, name: str) -> bytes:
        """Run what draws a picture, and return it."""
        self.run(PICTURES[name])
        return (self._folder / name).read_bytes()

    def _self_test(self) -> None:
        from guests.selftest import build

        build.make_vhd(self._folder / "selftest.vhd")

    def _snare(self) -> None:
        from guests.snare import build

        build.make_vhd(self._folder / "snare.vhd", "exit")

    def _installer(self) -> None:
        from tests.guests.assets.debian import unpacked

        package = unpacked("debian-installer-12-netboot-i386", "all")
        shutil.copytree(package / INSTALLER, self._folder / "installer", symlinks=False)

    def _trace(self) -> None:
        self.run(WHOLE_TRACE)

    def _linux_files(self) -> None:
        from tests.guests.assets.initramfs import linux_guest

        guest = linux_guest("amd64")
        shutil.copy(guest.kernel, self._folder / "vmlinuz")
        shutil.copy(guest.initramfs, self._folder / "initrd.img")

    def _linux_disk(self) -> None:
        from tests.guests.assets import bootdisk
        from tests.guests.assets.initramfs import linux_guest

        raw = bootdisk.linux_disk(self._folder / "linux.raw", linux_guest("amd64"), "shell")
        bootdisk.dynamic_vhd(raw, self._folder / "linux.vhd")

    def _seabios(self) -> None:
        for name in ("bios-256k.bin", "vgabios-stdvga.bin"):
            shutil.copy(Path("/usr/share/seabios") / name, self._folder / name)

    def _clone(self) -> None:
        git = shutil.which("git") or "git"
        target = self._folder / "trapline"
        subprocess.run([git, "clone", "-q", str(ROOT), str(target)], check=True)  # noqa: S603 - our own tree


def refresh(page: Path, stage: Stage) -> None:
    """Rewrite the transcripts of one page."""

    def rerun(match: re.Match[str]) -> str:
        transcript = transcript_of(match)
        lines: list[str] = []
        for command in transcript.commands:
            print(f"{page.relative_to(ROOT)}: {command}", file=sys.stderr)
            first, *rest = command.split("\n")
            lines += [PROMPT + first, *rest, *shortened(stage.run(command, transcript.status), transcript)]
        return match["marker"] + "```console\n" + "".join(f"{line}\n" for line in lines) + "```\n"

    old = page.read_text(encoding="utf-8")
    new = BLOCK.sub(rerun, old)
    if new != old:
        page.write_text(new, encoding="utf-8")


def main() -> None:
    """Do what the arguments say."""
    parser = argparse.ArgumentParser(description="Rerun the commands that the documentation shows.")
    parser.add_argument("page", nargs="*", type=Path, help="pages to refresh; all by default")
    parser.add_argument("--pictures", action="store_true", help="draw the pictures instead")
    parser.add_argument("--lives", action="store_true", help="trace what techniques and the AIC-7870 show")
    parser.add_argument("--list", action="store_true", help="print the commands, run nothing")
    arguments = parser.parse_args()
    chosen = [page.resolve() for page in arguments.page] or pages()
    if arguments.list:
        for page in chosen:
            for transcript in transcripts(page):
                print(*(f"{page.relative_to(ROOT)}: {command}" for command in transcript.commands), sep="\n")
        return
    sys.path.insert(0, str(ROOT))
    if arguments.lives:
        sys.path.insert(0, str(ROOT / "docs"))
        importlib.import_module("lives").write()
        importlib.import_module("firmware_life").write()
        return
    with tempfile.TemporaryDirectory(prefix="trapline-docs-") as folder:
        stage = Stage(Path(folder))
        if arguments.pictures:
            for name in PICTURES:
                (ROOT / "docs" / "images" / name).write_bytes(stage.picture(name))
            return
        for page in chosen:
            refresh(page, stage)


if __name__ == "__main__":
    main()
