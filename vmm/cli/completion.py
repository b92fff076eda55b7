"""Shell completion, where typer's own does not do.

bash cuts words at colons: `guest:s` comes as three words and only `s` is replaced. And a shell that is
named, as in `--show-completion zsh`, counts more than the one that we are called from.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from typing import Final

SCRIPTS: Final = ("--show-completion", "--install-completion")
NAMED_SHELL: Final = "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION"  # typer's: both options take a name


def look_for_shell(arguments: list[str]) -> None:
    """Have typer take the name of a shell, if one follows; without one it finds out which shell it is in."""
    first, _, value = (arguments or [""])[0].partition("=")
    if first in SCRIPTS and (value or arguments[1:]):
        os.environ[NAMED_SHELL] = "1"


def complete_bash() -> int:
    """Answer bash: put the cut words together, and take off again what it will not replace."""
    from typer.main import get_command

    from vmm.cli import build_app

    words = re.split("[ \n]", os.environ.get("COMP_WORDS", ""))  # its script joins them by newlines
    last = int(os.environ.get("COMP_CWORD", "0"))
    before = re.sub(r" ?: ?", ":", " ".join(words[: last + 1]))
    os.environ["COMP_WORDS"] = before
    os.environ["COMP_CWORD"] = str(before.count(" "))
    typed = before.rpartition(" ")[2]
    kept = typed.rpartition(":")[0] + ":" if ":" in typed else ""
    answer = io.StringIO()
    code: object = 0
    with contextlib.redirect_stdout(answer):
        try:
            get_command(build_app(words[1:]))(prog_name="trapline")
        except SystemExit as end:
            code = end.code
    for line in answer.getvalue().splitlines():
        sys.stdout.write(line.removeprefix(kept) + "\n")
    return code if isinstance(code, int) else 0
