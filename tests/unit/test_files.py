"""How the package is built: files can be read at once, modules import each other in no circles and keep their places."""

from __future__ import annotations

from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[2]
LONGEST = {"py": 400, "rs": 600}
"""Lines, unless the file says at its top why it is longer."""


def files(ending: str) -> list[Path]:
    folder = ROOT / ("python" if ending == "py" else "rust")
    return [
        path for path in folder.rglob(f"*.{ending}") if "/wire/v1/" not in str(path) and "/target/" not in str(path)
    ]


@pytest.mark.parametrize("ending", LONGEST)
def test_no_file_is_longer_than_can_be_read_at_once(ending: str) -> None:
    longest, found = LONGEST[ending], files(ending)
    assert len(found) > 50
    too_long = []
    for path in found:
        lines = path.read_text(encoding="utf-8").splitlines()
        if len(lines) > longest and not any(f"Longer than {longest} lines: " in line for line in lines[:20]):
            too_long.append(f"{path.relative_to(ROOT)}: {len(lines)} lines")
    assert not too_long


def test_no_modules_import_each_other_in_circles() -> None:
    graph = grimp.build_graph("dstk", exclude_type_checking_imports=True, cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    # What imports nothing that is left is in no circle, and goes.
    while free := [module for module, imported in imports.items() if not imported & imports.keys()]:
        for module in free:
            del imports[module]
    circles = {module: sorted(imported & imports.keys()) for module, imported in imports.items()}
    assert not circles


def test_the_embedded_api_server_needs_nothing_else_of_this_package() -> None:
    graph = grimp.build_graph("dstk", cache_dir=None)
    server = {"dstk.local.apiserver", *graph.find_descendants("dstk.local.apiserver")}
    others = {imported for module in server for imported in graph.find_modules_directly_imported_by(module)} - server
    assert len(server) > 20
    assert not others
