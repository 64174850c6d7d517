"""Tests that mean nothing at the embedded API."""

from __future__ import annotations

from pathlib import Path

import pytest

import worlds

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    skip = pytest.mark.skip(reason="needs a real kube-apiserver: make test-kubernetes")
    for item in items:
        if not worlds.REAL and HERE in item.path.parents:
            item.add_marker(skip)
