"""The build hook: an accelerator where a compiler is, an install in any case."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from types import ModuleType

import pytest

from tests.oracles import missing

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def hook() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "vmm/cpu/accelerator").mkdir(parents=True)
    (tmp_path / "vmm/cpu/accelerator/answer.c").write_text("int answer(void) { return 42; }\n")
    return tmp_path


def test_the_accelerator_is_built_where_a_compiler_is(hook: ModuleType, tree: Path) -> None:
    if hook.find_compiler() is None:
        missing("no C compiler")

    assert hook.compile_accelerator(tree) is None
    assert [path.name for path in (tree / "vmm/cpu").glob("_accel*")] == ["_accel.so"]


def test_without_a_compiler_a_stale_accelerator_goes_and_the_reason_is_told(
    hook: ModuleType, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stale = tree / "vmm/cpu/_accel.so"
    stale.write_bytes(b"old")
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: None)

    assert "no C compiler" in hook.compile_accelerator(tree)
    assert not stale.exists()


@pytest.mark.parametrize("compiler", ["false", "/nowhere/cc"])
def test_a_failing_compiler_does_not_fail_the_install(
    hook: ModuleType, tree: Path, monkeypatch: pytest.MonkeyPatch, compiler: str
) -> None:
    monkeypatch.setenv("CC", compiler)
    monkeypatch.setattr(hook, "COMPILERS", ())

    assert hook.compile_accelerator(tree) is not None
    assert [path.name for path in (tree / "vmm/cpu").glob("_accel*")] == ["_accel.txt"]
    assert (tree / "vmm/cpu/_accel.txt").read_text().strip()


def test_a_tree_without_the_source_is_no_error(hook: ModuleType, tmp_path: Path) -> None:
    assert hook.compile_accelerator(tmp_path) == "vmm/cpu/accelerator is not there"
