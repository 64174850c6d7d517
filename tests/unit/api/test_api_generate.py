"""The files in crds/ are what the models say."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from dstk.api import crds
from dstk.api.generate import documents, main

CRDS = Path(__file__).parents[3] / "crds"


def test_the_committed_files_are_current(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check", str(CRDS)]) == 0, capsys.readouterr().err


def test_the_files_hold_what_crds_returns() -> None:
    assert [yaml.safe_load(text) for text in documents().values()] == crds()


def test_check_names_the_file_that_differs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 0
    (tmp_path / "partitions.yaml").write_text("kind: Nothing\n", encoding="utf-8")
    assert main(["--check", str(tmp_path)]) == 1
    assert "partitions.yaml differs from the models" in capsys.readouterr().err


COLUMNS = {
    "Keyspace": ["Key length", "Partitions", "Ready", "Age"],
    "Partition": ["Start", "End", "Primary", "Proxy", "Phase", "Age"],
    "Assignment": ["Type", "Partition", "Parts", "Primary", "From", "To", "Phase", "Step", "Reason", "Age"],
}


@pytest.mark.parametrize(("kind", "columns"), COLUMNS.items())
def test_what_kubectl_get_shows(kind: str, columns: list[str]) -> None:
    (crd,) = (crd for crd in crds() if crd["spec"]["names"]["kind"] == kind)
    shown = crd["spec"]["versions"][0]["additionalPrinterColumns"]
    assert [column["name"] for column in shown if not column.get("priority")] == columns
