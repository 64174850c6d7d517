"""Cuts of a key space: at given keys, or by a sample; the command that prints them and the flag that takes them."""

from __future__ import annotations

import io
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dstk import errors, keys
from dstk.cli import main
from dstk.cli.cuts import bounds_given

SAMPLES = st.lists(st.binary(min_size=3, max_size=3), min_size=1, max_size=40)


@given(SAMPLES.flatmap(lambda sample: st.tuples(st.just(sample), st.integers(1, len(set(sample))))))
def test_each_range_has_keys_of_the_sample_and_nearly_its_share(given: tuple[list[bytes], int]) -> None:
    sample, count = given
    cuts = keys.sampled_cuts(sample, count)
    index = keys.RangeIndex([start or bytes(3) for start, _ in keys.bounds_at(cuts, 3)], key_length=3)
    counts = np.bincount(index.find_many(sample), minlength=count)
    assert len(counts) == count
    assert counts.min() >= 1
    if len(set(sample)) == len(sample):
        assert counts.max() - counts.min() <= 1


def test_a_key_that_is_sampled_often_weighs_as_much() -> None:
    assert keys.sampled_cuts([b"a"] * 6 + [b"b", b"c", b"d", b"e"], 2) == [b"b"]
    assert keys.sampled_cuts([b"a", b"b", b"c", b"d"] + [b"e"] * 6, 3) == [b"d", b"e"]


def test_cuts_are_as_short_as_they_can_be() -> None:
    assert keys.sampled_cuts([b"user/100", b"user/2", b"user/20", b"video"], 4) == [b"user/2", b"user/20", b"v"]
    assert keys.sampled_cuts([b"only"], 1) == []


def test_a_sample_with_too_few_keys_is_refused() -> None:
    with pytest.raises(errors.InvalidRange, match=r"3 ranges of a sample of 2 different keys: choose 1 to 2"):
        keys.sampled_cuts([b"a", b"a", b"b"], 3)


@given(st.sets(st.binary(min_size=1, max_size=3).filter(any), max_size=9), st.integers(3, 5))
def test_cuts_cover_the_key_space_without_gaps(cuts: set[bytes], length: int) -> None:
    wanted = sorted({keys.pad(cut, length) for cut in cuts})
    bounds = keys.bounds_at(wanted, length)
    assert [start for start, _ in bounds] == [b"", *wanted]
    assert bounds[-1][1] == b""
    assert all(left[1] == right[0] for left, right in pairwise(bounds))


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    path = tmp_path / "keys.txt"
    path.write_text("".join(f"user/{number}\n" for number in range(1000, 2000)))
    return path


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = main([str(word) for word in words])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_what_cuts_prints_is_what_bounds_takes(
    sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(capsys, "cuts", "--from", sample, "--partitions", 4)
    assert (code, out) == (0, '- "user/125"\n- "user/15"\n- "user/175"\n')
    printed = tmp_path / "bounds.yaml"
    printed.write_text(out)
    assert bounds_given(f"@{printed}", 16) == ["user/125", "user/15", "user/175"]
    assert bounds_given("user/125,user/15,0x7f", 16) == ["user/125", "user/15", "0x7f"]


def test_samples_of_bytes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    users = keys.Layout(user=keys.hashed(keys.u64)).encode_many(user=np.arange(1000))
    np.save(tmp_path / "rows.npy", users)
    np.save(tmp_path / "flat.npy", users.view("S10").reshape(-1))
    (tmp_path / "lines.txt").write_text("".join(f"0x{row.tobytes().hex()}\n" for row in users))
    printed = {
        run(capsys, "cuts", "--from", tmp_path / name, "--partitions", 8, "--key-length", 10)[1]
        for name in ("rows.npy", "flat.npy", "lines.txt")
    }
    (only,) = printed
    lines = only.splitlines()
    assert len(lines) == 7
    places = [int(line.removeprefix('- "0x').removesuffix('"').ljust(4, "0")[:4], 16) for line in lines]
    assert [round(place / 8192) for place in places] == [1, 2, 3, 4, 5, 6, 7]


def test_standard_input(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("a\n\nb\n"))
    assert run(capsys, "cuts", "--from", "-", "--partitions", 2)[1] == '- "b"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\nabcdefghijklmnopq\n", "line 2: key abcdefghijklmnopq is 17 bytes; at most 16 fit"),
        ("0xabc\n", "line 1: bound '0xabc' is not hex"),
        ("a\na\n", "2 ranges of a sample of 1 different keys"),
    ],
)
def test_a_wrong_sample_is_said_to_be(
    text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "keys").write_text(text)
    code, out, said = run(capsys, "cuts", "--from", tmp_path / "keys", "--partitions", 2)
    assert (code, out) == (2, "")
    assert message in said


def test_files_that_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "floats.npy", np.zeros(3))
    (tmp_path / "broken.npy").write_bytes(b"no array")
    (tmp_path / "latin").write_bytes(b"caf\xe9\n")
    for name, message in {
        "absent": "cannot read",
        "broken.npy": "cannot read",
        "latin": "cannot read",
        "floats.npy": "float64 of shape (3,)",
    }.items():
        code, _, said = run(capsys, "cuts", "--from", tmp_path / name, "--partitions", 2)
        assert code == 2
        assert message in said
        assert name in said


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("b,a", "bound a is below b before it"),
        ("a,a", "bound a is there twice"),
        ("a,,b", "bound 2 of --bounds a,,b is empty"),
        ("0x00,a", "bound 0x00 is the lowest key"),
        ("a,0xabc", "bound '0xabc' is not hex"),
        ("a,abcde", "abcde is 5 bytes; at most 4 fit"),
        ("@/nowhere/bounds", "cannot read /nowhere/bounds"),
    ],
)
def test_bounds_that_cut_nothing_are_refused_by_value(given: str, message: str) -> None:
    with pytest.raises(errors.DstkError) as error:
        bounds_given(given, 4)
    assert message in str(error.value)
    assert error.value.exit_code == 2
