"""The history that the verifying load keeps must see each kind of wrong: it is only worth what it finds."""

import pytest

from dstk.testing import History

KEY = 3


@pytest.fixture
def history() -> History:
    history = History(keys=8, value_size=64)
    history.wrote(KEY, 1, version=10)
    history.wrote(KEY, 2, version=11)
    return history


def found(history: History) -> dict[str, int]:
    findings = history.findings
    counts = {
        "lost": findings.lost_writes,
        "wrong": findings.wrong_reads,
        "failed": findings.failed_requests,
        "unknown": findings.unknown_outcomes,
    }
    return {kind: count for kind, count in counts.items() if count}


def test_the_last_acknowledged_row_is_right(history: History) -> None:
    history.check_own(KEY, (history.value(KEY, 2), 11))
    history.check_other(KEY, history.floor(KEY), (history.value(KEY, 2), 11))
    assert history.findings.clean


def test_a_missing_row_is_a_lost_write(history: History) -> None:
    history.check_own(KEY, None)
    assert found(history) == {"lost": 1}


def test_an_older_row_is_a_lost_write(history: History) -> None:
    history.check_own(KEY, (history.value(KEY, 1), 10))
    assert found(history) == {"lost": 1}


def test_a_row_nobody_wrote_is_a_wrong_read(history: History) -> None:
    history.check_own(KEY, (history.value(KEY, 1), 11))
    assert found(history) == {"wrong": 1}


def test_a_version_that_repeats_is_wrong(history: History) -> None:
    history.wrote(KEY, 3, version=11)
    assert found(history) == {"wrong": 1}


def test_another_readers_row_may_be_newer_but_never_older(history: History) -> None:
    floor = history.floor(KEY)
    history.check_other(KEY, floor, (history.value(KEY, 3), 12))
    assert history.findings.clean
    history.check_other(KEY, floor, (history.value(KEY, 1), 10))
    assert found(history) == {"wrong": 1}


def test_another_keys_row_is_wrong(history: History) -> None:
    history.check_other(KEY, history.floor(KEY), (history.value(KEY + 1, 2), 12))
    assert found(history) == {"wrong": 1}


def test_a_row_may_be_gone_only_if_someone_deletes_it(history: History) -> None:
    floor = history.floor(KEY)
    history.check_other(KEY, floor, None)
    assert found(history) == {"wrong": 1}
    history.removing(KEY)
    history.check_other(KEY, floor, None)
    assert found(history) == {"wrong": 1}


def test_a_delete_under_way_when_the_read_was_sent_may_come_first(history: History) -> None:
    history.removing(KEY)
    floor = history.floor(KEY)
    history.check_other(KEY, floor, None)
    history.removed(KEY, version=12)
    history.check_other(KEY, floor, None)
    assert history.findings.clean


def test_a_deleted_row_that_comes_back_is_wrong(history: History) -> None:
    history.removing(KEY)
    history.removed(KEY, version=12)
    history.check_own(KEY, None)
    assert history.findings.clean
    history.check_own(KEY, (history.value(KEY, 2), 11))
    assert found(history) == {"wrong": 1}


def test_a_delete_that_finds_nothing_means_a_lost_write(history: History) -> None:
    history.removing(KEY)
    history.removed(KEY, version=None)
    assert found(history) == {"lost": 1}


def test_after_a_write_in_doubt_either_row_is_right(history: History) -> None:
    history.in_doubt(KEY, 3)
    history.check_own(KEY, (history.value(KEY, 2), 11))
    history.check_own(KEY, (history.value(KEY, 3), 12))
    assert history.findings.clean
    history.check_own(KEY, (history.value(KEY, 2), 11))
    assert found(history) == {"lost": 1}


def test_a_write_in_doubt_may_take_effect_after_a_later_one(history: History) -> None:
    history.in_doubt(KEY, 3)
    history.wrote(KEY, 4, version=12)
    history.check_own(KEY, (history.value(KEY, 4), 12))
    history.check_own(KEY, (history.value(KEY, 3), 13))
    assert history.findings.clean
    assert history.version(KEY) == 13


def test_a_write_in_doubt_takes_effect_once(history: History) -> None:
    history.in_doubt(KEY, 3)
    history.check_own(KEY, (history.value(KEY, 3), 12))
    history.check_own(KEY, (history.value(KEY, 3), 13))
    assert found(history) == {"wrong": 1}


def test_a_write_in_doubt_does_not_excuse_an_older_row(history: History) -> None:
    history.in_doubt(KEY, 3)
    history.check_own(KEY, (history.value(KEY, 1), 10))
    history.check_own(KEY, None)
    assert found(history) == {"lost": 2}


def test_a_delete_in_doubt_may_have_removed_the_row(history: History) -> None:
    history.removing(KEY)
    history.in_doubt(KEY, 0)
    history.check_other(KEY, history.floor(KEY), None)
    history.check_own(KEY, (history.value(KEY, 2), 11))
    history.check_own(KEY, None)
    history.removed(KEY, version=None)
    assert history.findings.clean


def test_a_condition_is_refused_only_where_a_write_is_in_doubt(history: History) -> None:
    history.refused(KEY, current=10)
    assert found(history) == {"lost": 1}
    history.in_doubt(KEY, 3)
    history.refused(KEY, current=12)
    assert found(history) == {"lost": 1}


def test_no_serial_is_given_twice(history: History) -> None:
    history.in_doubt(KEY, 3)
    history.check_own(KEY, (history.value(KEY, 2), 11))
    assert history.next_value(KEY)[0] == 4
    assert history.next_value(KEY)[0] == 5


def test_examples_are_bounded_and_counts_are_not(history: History) -> None:
    for _ in range(100):
        history.check_own(KEY, None)
    assert found(history) == {"lost": 100}
    assert len(history.findings.examples) == 20
