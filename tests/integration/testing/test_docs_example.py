"""What docs/testing.md tells users to copy, copied and run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

PAGE = Path(__file__).parents[3] / "docs" / "testing.md"
FILES = dict(re.findall(r"```python\n# (\w+\.py)\n(.*?)```", PAGE.read_text(), re.DOTALL))


@pytest.mark.parametrize("processes", ["0", "2"])
def test_the_files_of_the_page_pass(pytester: pytest.Pytester, processes: str) -> None:
    assert sorted(FILES) == ["conftest.py", "test_counter.py", "test_short_keys.py"]
    for name, text in FILES.items():
        (pytester.path / name).write_text(text)
    done = pytester.runpytest_subprocess("-n", processes, "--dist", "loadfile", "-p", "no:asyncio", timeout=300)
    done.assert_outcomes(passed=4)
