"""One clear line for every error, never a traceback, unless TRAPLINE_DEBUG=1 asks for it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from disks.errors import DiskError, ParentError
from disks.words import printable
from vmm.cli import status
from vmm.errors import UsageError, VmmError

DEBUG_VARIABLE: Final = "TRAPLINE_DEBUG"


@dataclass
class Failure:
    """Filled in when the block inside `one_line` failed."""

    status: int = status.OK


def print_error(message: str) -> None:
    """Print `trapline: error: …` on stderr, as one line."""
    print(f"trapline: error: {printable(' '.join(message.split()))}", file=sys.stderr)


def print_warning(message: str) -> None:
    """Print `trapline: warning: …` on stderr, as one line."""
    print(f"trapline: warning: {printable(' '.join(message.split()))}", file=sys.stderr, flush=True)


def _print_parent_error(error: ParentError) -> None:
    """Print a parent that is not found, and under it, a line each, where it was looked for and what to do."""
    first, *rest = str(error).splitlines()
    print_error(first)
    for line in rest:
        print(f"  {printable(' '.join(line.split()))}", file=sys.stderr)


@contextmanager
def one_line() -> Iterator[Failure]:
    """Turn an exception of the block into one line on stderr and a status."""
    failure = Failure()
    try:
        yield failure
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the flush at exit must not fail again
        failure.status = status.ERROR
    except KeyboardInterrupt:
        failure.status = status.INTERRUPTED
    except ParentError as error:
        _print_parent_error(error)
        failure.status = status.ERROR
    except UsageError as error:
        print_error(str(error))
        failure.status = status.USAGE
    except Exception as error:
        if os.environ.get(DEBUG_VARIABLE) == "1":
            raise
        print_error(_message(error))
        failure.status = status.ERROR


def _message(error: Exception) -> str:
    if isinstance(error, (VmmError, DiskError)):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return f"this is our bug, {type(error).__name__}: {error} ({DEBUG_VARIABLE}=1 shows where)"
