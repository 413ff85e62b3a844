"""What a machine lacks is said at the end of a run, and is a failure where everything is required."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCENE = """
import pytest

@pytest.mark.parametrize("number", range(3))
def test_lacking(number):
    pytest.skip("no such program: apt-get install it")

@pytest.mark.xfail(strict=True)
def test_known_to_fail():
    assert False
"""
MODULE = """
import pytest

pytest.skip("no such kernel", allow_module_level=True)
"""


@pytest.mark.parametrize("required", ["", "all"])
def test_skips_are_listed_or_refused(tmp_path: Path, required: str) -> None:
    shutil.copy(Path(__file__).with_name("conftest.py"), tmp_path)
    (tmp_path / "test_scene.py").write_text(SCENE)
    (tmp_path / "test_module.py").write_text(MODULE)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "1", "--continue-on-collection-errors", str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "SHIVYA_REQUIRE": required, "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    lines = done.stdout.splitlines()
    if required:
        assert done.returncode != 0
        assert "but skipped: no such kernel" in done.stdout
        assert "but skipped: no such program: apt-get install it" in done.stdout
        assert not any(line.startswith("SKIPPED") for line in lines)
    else:
        assert done.returncode == 0, done.stdout
        assert lines[-3:-1] == [
            "SKIPPED 1 test: no such kernel",
            "SKIPPED 3 tests: no such program: apt-get install it",
        ]
        assert "1 xfailed" in lines[-1]
