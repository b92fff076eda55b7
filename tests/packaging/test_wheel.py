"""A wheel, installed away from the tree: its guests, its completion scripts and its command work there."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BUILD_S = 240


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Unpack the wheel as an installer does: modules in one folder, data below a prefix."""
    place = tmp_path_factory.mktemp("installed")
    code = f"from hatchling.build import build_wheel; print(build_wheel({str(place)!r}))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=BUILD_S, check=True
    )
    with zipfile.ZipFile(place / done.stdout.split()[-1]) as wheel:
        wheel.extractall(place / "site")
    data = next((place / "site").glob("*.data")) / "data"
    data.rename(place / "prefix")
    return place


def trapline(installed: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the installed command in `folder`; the tree is out of reach, its dependencies are not."""
    site = str(installed / "site")
    code = (
        f"import sys; sys.path = [{site!r}, *(p for p in sys.path if p != {str(ROOT)!r})]; "
        f"sys.prefix = {str(installed / 'prefix')!r}; import vmm; "
        f"assert vmm.__file__.startswith({str(installed)!r}), vmm.__file__; "
        "from vmm.cli import main; main()"
    )
    return subprocess.run(
        [sys.executable, "-P", "-c", code, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": site},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=BUILD_S,
    )


@pytest.mark.parametrize("guest", ["snare", "snare/cd", "snare/floppy", "snare/raw"])
def test_the_toy_system_boots_from_the_installed_files(installed: Path, tmp_path: Path, guest: str) -> None:
    done = trapline(installed, tmp_path, "run", f"guest:{guest}", "--expect", "snare>", "--timeout", "120")
    assert done.returncode == 0, done.stderr
    assert "passed" in done.stdout


def test_a_guest_is_copied_from_the_installed_files(installed: Path, tmp_path: Path) -> None:
    done = trapline(installed, tmp_path, "guests", "copy", "snare", "x.vhd")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "x.vhd").read_bytes()[:8] == b"conectix"


def test_the_guests_are_listed_as_shipped(installed: Path, tmp_path: Path) -> None:
    done = trapline(installed, tmp_path, "guests", "--json")
    assert str(installed / "prefix") in done.stdout


@pytest.mark.parametrize(
    ("shell", "sign"), [("bash", "complete -o"), ("zsh", "#compdef trapline"), ("fish", "complete --command")]
)
def test_completion_scripts_are_of_the_shell_named(
    installed: Path, tmp_path: Path, shell: str, sign: str
) -> None:
    assert sign in trapline(installed, tmp_path, "--show-completion", shell).stdout
