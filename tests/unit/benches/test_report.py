"""What a benchmark's row says: ratio, whether its goal is met, and how it is printed."""

from __future__ import annotations

import json

import pytest

import report
from report import Figure, Report, Row
from tables import filled, number, table


@pytest.mark.parametrize(
    ("ours", "peer_value", "better", "goal", "ratio", "met"),
    [
        (10, 50, "lower", 5, 5, True),
        (10, 49, "lower", 5, 4.9, False),
        (50, 10, "higher", 5, 5, True),
        (49, 10, "higher", 5, 4.9, False),
        (12, 10, "lower", 1 / 1.2, 1 / 1.2, True),
        (10, 50, "lower", None, 5, None),
        (99, None, "lower", 100, None, True),
        (101, None, "lower", 100, None, False),
        (99, None, "higher", 100, None, False),
        (101, None, "higher", 100, None, True),
        (101, None, "lower", None, None, None),
    ],
)
def test_a_goal_is_a_ratio_with_a_peer_and_a_figure_without(ours, peer_value, better, goal, ratio, met):
    row = Row("w", "c", "u", ours, peer_value and "p", peer_value, goal, better)
    assert row.ratio == (None if ratio is None else pytest.approx(ratio))
    assert row.met is met


def test_a_figure_is_a_median_between_quartiles():
    assert Figure.of([5, 1, 3, 2, 4]) == Figure(3, (2, 4))
    assert Figure.of([5, 1, 3, 2, 4]).times(10) == Figure(30, (20, 40))


def test_a_report_has_one_row_a_peer_and_the_versions_that_matter(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "FOLDER", tmp_path)
    told = Report("name", packages=("numpy",))
    peers = {"slow": Figure(30, (29, 31)), "slower": Figure(40, (39, 41))}
    told.compare("lookup", "1 range", "ns", Figure(10, (9, 11)), peers, {"slower": 5})
    written = json.loads(told.write().read_text())
    assert written["machine"]["versions"].keys() == {"numpy"}
    shown = [[row[key] for key in ("what", "ours", "peer", "ratio", "goal", "met")] for row in written["rows"]]
    assert shown == [["lookup", 10, "slow", 3, None, None], ["lookup", 10, "slower", 4, 5, False]]


def test_a_table_leaves_out_what_the_line_above_says():
    rows = [
        Row("find", "a", "ns", 10, "one", 50, goal=5, spread=(9, 11), peer_spread=(48, 51)),
        Row("find", "a", "ns", 10, "two", 30, goal=5, spread=(9, 11)),
        Row("find", "b", "ns", 10, "one", 30),
        Row("apply", "b", "us", 10, goal=100),
        Row("rate", "b", "/s", 12345.6, goal=99_999, better="higher"),
    ]
    assert table(row.as_json() for row in rows).splitlines()[2:] == [
        "| find | a | 10 (9–11) ns | one: 50 (48–51) | 5 | ≥ 5 | yes |",
        "|  |  |  | two: 30 | 3 | ≥ 5 | **no** |",
        "|  | b | 10 ns | one: 30 | 3 |  |  |",
        "| apply | b | 10 us |  |  | ≤ 100 us | yes |",
        "| rate | b | 12,300 /s |  |  | ≥ 100,000 /s | **no** |",
    ]


def test_the_page_has_every_benchmark_and_says_which_were_not_run():
    machine = {"cpu": "C", "cores": 2, "load": 0.5, "system": "Linux", "python": "3.11"}
    report = {"machine": machine, "rows": []}
    page = filled("# A\n\n{table a}\n\n# B\n\n{table b}\n", {"a": report, "c": report})
    headings = [line for line in page.splitlines() if not line.startswith("|") and line]
    measured = "Measured on C, 2 cores, load average 0.5 at the start; Linux, Python 3.11."
    assert headings == ["# A", measured, "# B", "Not measured: `make bench-b`.", "## c", measured]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (0.83333, "0.833"),
        (1.5, "1.5"),
        (99.96, "100"),
        (123.4, "123"),
        (99_950.0, "100,000"),
        (1_234_567, "1,230,000"),
        (0.00012, "1.2e-04"),
    ],
)
def test_numbers_have_three_digits_that_count(value, shown):
    assert number(value) == shown
