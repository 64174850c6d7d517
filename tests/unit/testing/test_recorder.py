"""What several clients recorded is read back key by key; a lost write is seen by versions alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from dstk.testing.linearizability import Operation
from dstk.testing.recorder import Recorder, recorded
from dstk.testing.soak import judge, lost_write

PUT = Operation("put", 0, 1, "ok", 7, 1)
DELETE = Operation("delete", 2, 3, "ok", None, 2)
GONE = Operation("get", 8, 9)


def record(folder: Path, who: str, *operations: tuple[int, Operation]) -> None:
    recorder = Recorder(folder, who)
    for key, operation in operations:
        recorder.note(key, operation)
    recorder.close()


def test_what_was_recorded_comes_back_by_key(tmp_path: Path) -> None:
    refused = Operation("put", 1, 2, "mismatch", 8, 1, 0)
    record(tmp_path, "one", (3, PUT), (99, PUT))
    record(tmp_path, "two", (3, refused))
    found = {
        key: sorted((each.who, each.invoked, each.outcome, each.value) for each in history)
        for key, history in recorded(tmp_path)
    }
    assert found == {3: [("one", 0, "ok", 7), ("two", 1, "mismatch", 8)], 99: [("one", 0, "ok", 7)]}


def test_half_a_line_is_not_taken_for_nothing(tmp_path: Path) -> None:
    record(tmp_path, "one", (3, PUT))
    for path in tmp_path.glob("*.3.jsonl"):
        path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ValueError, match="killed"):
        list(recorded(tmp_path))


def test_the_judgement_counts_each_kind(tmp_path: Path) -> None:
    record(
        tmp_path, "one", (1, PUT), (1, GONE), (2, PUT), (2, DELETE), (2, GONE), (3, Operation("get", 0, 1, "ok", 5, 1))
    )
    findings = judge(tmp_path)
    assert [line.split(":")[0] for line in findings.lost] == ["shared key 1"]
    assert sorted(line.split(":")[0] for line in findings.violations) == ["shared key 1", "shared key 3"]
    assert findings.operations == 6
    assert findings.undecided == []


def test_a_write_is_lost_when_the_last_read_is_older() -> None:
    newer = Operation("put", 4, 5, "ok", 8, 3)
    assert "version 1" in lost_write([PUT, newer, Operation("get", 8, 9, "ok", 7, 1)])
    assert lost_write([PUT, newer, GONE])
    assert lost_write([PUT, GONE])


def test_a_row_may_be_gone_when_a_delete_says_so() -> None:
    assert lost_write([PUT, DELETE, GONE]) == ""
    assert lost_write([PUT, Operation("delete", 2, 3, "unknown"), GONE]) == ""
    assert lost_write([PUT, Operation("delete", 2, 3, "failed"), GONE])
    assert lost_write([PUT, DELETE, Operation("put", 4, 5, "unknown", 9), GONE]) == ""


def test_a_newer_row_of_a_write_in_doubt_is_no_loss() -> None:
    assert lost_write([PUT, Operation("put", 2, 3, "unknown", 9), Operation("get", 8, 9, "ok", 9, 4)]) == ""


def test_a_read_that_was_not_the_last_operation_says_nothing_of_later_writes() -> None:
    assert lost_write([PUT, Operation("get", 2, 5, "ok", 7, 1), Operation("put", 4, 6, "ok", 8, 2)]) == ""
    assert lost_write([PUT, Operation("get", 2, 5), Operation("delete", 3, 6, "ok", None, 2)]) == ""
