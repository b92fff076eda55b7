"""Build hook: compiles the accelerator (`vmm/cpu/accelerator/`) when a C compiler is there.

The accelerator is optional: without a compiler, or when it fails, the install goes on and the
portable engine is used; `trapline doctor` says which one a machine gets. Only a wheel that carries
the library is tagged for its platform.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCES = Path("vmm/cpu/accelerator")
LIBRARY = Path("vmm/cpu/_accel.so")
FLAGS = ("-O2", "-fPIC", "-shared", "-fvisibility=hidden", "-Wall", "-pthread")
COMPILERS = ("cc", "gcc", "clang")
COMPILE_TIMEOUT_S = 120
WHY_NOT = ".txt"  # beside the library that was not built


def find_compiler() -> list[str] | None:
    """Return the command of a C compiler: $CC, else the first of cc, gcc, clang; None without one."""
    for candidate in (os.environ.get("CC", ""), *COMPILERS):
        command = shlex.split(candidate)
        if command and shutil.which(command[0]):
            return command
    return None


def compile_accelerator(root: Path) -> str | None:
    """Compile the library below `root`; return None when it is built, else why it is not.

    The library is replaced in one step, since a running machine may have the old one mapped. One
    that no longer matches its source is removed rather than left.
    """
    sources, library = sorted((root / SOURCES).glob("*.c")), root / LIBRARY
    if not sources:
        return f"{SOURCES} is not there"
    compiler = find_compiler()
    if compiler is None:
        return _gone(library, "no C compiler was found on install (cc, gcc or clang, or $CC)")
    fresh = library.with_name(f"{library.name}.{os.getpid()}")
    command = [*compiler, *FLAGS, "-o", str(fresh), *map(str, sources)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=COMPILE_TIMEOUT_S)
        fresh.replace(library)
    except (OSError, subprocess.SubprocessError) as error:
        fresh.unlink(missing_ok=True)
        return _gone(library, f"{shlex.join(command)}: {getattr(error, 'stderr', None) or error}")
    library.with_suffix(WHY_NOT).unlink(missing_ok=True)
    return None


def _gone(library: Path, why: str) -> str:
    """Remove the library and leave word of why there is none, for `trapline doctor`."""
    library.unlink(missing_ok=True)
    library.with_suffix(WHY_NOT).write_text(f"{' '.join(why.split())}\n")
    return why


class AcceleratorHook(BuildHookInterface):  # type: ignore[type-arg]
    """Runs before hatchling collects the files of a wheel, editable or not."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the library and, when there is one, add it and tag the wheel for this platform."""
        problem = compile_accelerator(Path(self.root))
        if problem is not None:
            self.app.display_warning(f"trapline: no accelerator, the portable engine is used: {problem}")
            build_data["artifacts"].append(str(LIBRARY.with_suffix(WHY_NOT)))
            return
        build_data["artifacts"].append(str(LIBRARY))
        build_data["pure_python"] = False
        if version == "standard":
            platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
            build_data["tag"] = f"py3-none-{platform}"
