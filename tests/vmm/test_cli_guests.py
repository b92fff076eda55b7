"""`trapline guests`, and what a shell is told when the user presses Tab."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from disks.open import open_image
from tests.oracles import require_tool
from vmm import guests as registry
from vmm.cli import run_command, status

TRAPLINE = Path(sys.executable).parent / "trapline"
SNARE_CD_BYTES = 128 << 10  # the smallest of its media


def test_every_guest_is_listed_with_how_to_run_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["guests"]) == status.OK
    text = capsys.readouterr().out
    for guest in (*registry.SHIPPED, *registry.PACKAGED):
        assert registry.command_of(guest) in text


@pytest.mark.parametrize("command", [["guests", "--json"], ["guests", "list", "--json"]])
def test_the_list_is_json_too(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(command) == status.OK
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["snare"]["run"] == "trapline run guest:snare"
    assert rows["selftest"]["media"] == ["vhd", "raw", "cd"]


@pytest.mark.parametrize("name", ["own.vhd", "own.img", "own.iso", "own.flp"])
def test_a_guest_is_copied_to_an_image_of_ones_own(tmp_path: Path, name: str) -> None:
    assert run_command(["guests", "copy", "snare", str(tmp_path / name)]) == status.OK
    with contextlib.closing(open_image(tmp_path / name)) as image:
        assert image.size_bytes >= SNARE_CD_BYTES


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["guests", "copy", "minix", "a.vhd"], 2, "no guest 'minix' is shipped; there are selftest, snare"),
        (["guests", "copy", "snare", "a.qcow2"], 2, "which medium?"),
        (["guests", "copy", "selftest", "a.flp"], 2, "has no medium 'floppy'; there are vhd, raw, cd"),
        (["guests", "copy", "snare", "/nowhere/a.vhd"], 1, "no such directory"),
        (["guests", "copy", "snare", __file__, "--medium", "vhd"], 1, "exists already; --force replaces it"),
        (["run", "guest:minix"], 2, "no guest 'minix'"),
        (["run", "guest:snare/tape"], 2, "has no medium 'tape'"),
        (["run", "guest:snare", "--display", "x11"], 2, "expected none, terminal, png"),
        (["run", "guest:snare", "--display", "png:a.jpg"], 2, "ends in .png"),
        (["run", "guest:snare", "--display", "vnc:host:99999"], 2, "expected none, terminal, png"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(arguments) == code
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


COMPLETED = [
    ("trapline gu", "guests"),
    ("trapline run --clo", "--clock"),
    ("trapline run --engine p", "portable"),
    ("trapline run --display t", "terminal"),
    ("trapline run di", "disk.vhd"),
    ("trapline run gue", "guest:snare"),
    ("trapline guests copy s", "snare"),
]


@cache
def completion_script(shell: str) -> str:
    """What the command prints for a shell to read."""
    return subprocess.run(
        [TRAPLINE, "--show-completion", shell],
        env={**os.environ, "PATH": f"{TRAPLINE.parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


@pytest.mark.oracle
@pytest.mark.quick(
    "bash-trapline gu-guests",
    "bash-trapline run --engine p-portable",
    "bash-trapline run di-disk.vhd",
    "bash-trapline run gue-guest:snare",
    "fish-trapline run --clo---clock",
    "fish-trapline guests copy s-snare",
)
@pytest.mark.parametrize(("line", "offered"), COMPLETED)
@pytest.mark.parametrize("shell", ["bash", "fish"])
def test_shells_complete(tmp_path: Path, shell: str, line: str, offered: str) -> None:
    (tmp_path / "disk.vhd").touch()
    (tmp_path / "notes.txt").touch()
    require_tool(shell)
    environment = {**os.environ, "PATH": f"{TRAPLINE.parent}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    (tmp_path / "completion").write_text(completion_script(shell))
    if shell == "bash":
        ask = (
            f'. ./completion; words=({line}); COMP_WORDS=("${{words[@]}}"); COMP_CWORD=$((${{#words[@]}}-1));'
            " _trapline_completion trapline; printf '%s\\n' \"${COMPREPLY[@]}\""
        )
    else:
        ask = f"source ./completion; complete -C '{line}'"
    done = subprocess.run(
        [shell, "-c", ask],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    words = [word.split("\t")[0] for word in done.stdout.splitlines()]
    assert offered in words, done.stderr
    if shell == "bash" and offered == "guest:snare":  # bash itself cuts words at colons
        cut = ask.replace(f"words=({line})", "words=(trapline run guest : s)")
        again = subprocess.run(
            [shell, "-c", cut], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
        )
        assert "snare" in again.stdout.split()
    assert "notes.txt" not in words


ZSH = """
zmodload zsh/zpty
zpty -b shell zsh -f -i
see() { # print what comes until $1 does, or nothing for a while
    local got text tries=0
    until [[ $text = *$1* ]] || (( tries++ > 300 )); do
        if zpty -r -t shell got; then text+=$got; else sleep 0.1; fi
    done
    print -r -- $text
}
zpty -w shell 'PS1=; autoload -U compinit; compinit -u -D; . ./completion; print rea""dy'
see ready
zpty -w -n shell "$1"$'\t'
see "$2"
zpty -d shell
"""
"""A shell in a pseudo-terminal, as zsh completes only at its prompt."""


@pytest.mark.oracle
@pytest.mark.quick("trapline run --display t-terminal", "trapline run gue-guest:snare")
@pytest.mark.parametrize(("line", "offered"), COMPLETED)
def test_zsh_completes(tmp_path: Path, line: str, offered: str) -> None:
    (tmp_path / "disk.vhd").touch()
    zsh = require_tool("zsh")
    environment = {**os.environ, "PATH": f"{TRAPLINE.parent}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    (tmp_path / "completion").write_text(completion_script("zsh"))
    offered = "guest:s" if offered == "guest:snare" else offered  # as far as both guests go
    done = subprocess.run(
        [zsh, "-f", "-c", ZSH, "zsh", line, offered],
        cwd=tmp_path,
        env={**environment, "TERM": "dumb"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert offered in done.stdout.replace("\\", ""), done.stdout + done.stderr
