from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tools.lint_lua import compile_all, lint_all

if TYPE_CHECKING:
    from pathlib import Path

SCRIPT = "-- script.lua: what it does\n-- returns 2\n-- @include shared.lua\n\nreturn doubled(1)\n"
SHARED = """\
-- shared.lua: what scripts share

local function doubled(n) return 2 * n end
local function halved(n) return n / 2 end
"""


def written(folder: Path, script: str, shared: str = SHARED) -> list[Path]:
    (folder / "script.lua").write_text(script)
    (folder / "shared.lua").write_text(shared)
    return [folder / "script.lua", folder / "shared.lua"]


@pytest.fixture
def luacheck() -> str:
    program = shutil.which("luacheck")
    if program is None:
        pytest.skip("luacheck is not installed (on Debian: apt install lua-check)")
    return program


def test_a_script_knows_the_functions_it_includes(tmp_path: Path, luacheck: str) -> None:
    assert lint_all(luacheck, written(tmp_path, SCRIPT)) == 0


@pytest.mark.parametrize("fault", ["return tripled(1)", "local unused = 1\nreturn 1"])
def test_luacheck_s_complaints_are_faults(tmp_path: Path, luacheck: str, fault: str) -> None:
    assert lint_all(luacheck, written(tmp_path, SCRIPT.replace("return doubled(1)", fault))) == 1


def test_without_luacheck_wrong_syntax_is_a_fault(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compile_all(written(tmp_path, SCRIPT)) == 0
    assert compile_all(written(tmp_path, SCRIPT.replace("doubled(1)", "doubled(1"))) == 1
    assert "script.lua: Error compiling script" in capsys.readouterr().out
