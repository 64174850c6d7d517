"""`dstk wait-empty`, as the preStop hook of a worker's pod calls it."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from dstk.cli import main
from dstk.cli.codes import UNAVAILABLE


class Metrics(HTTPServer):
    """Answers with one page after the other, the last one again and again; to an empty one with nothing at all."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Page)
        self.pages: list[str] = []
        self.served = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_port}"


class _Page(BaseHTTPRequestHandler):
    server: Metrics

    def do_GET(self) -> None:
        page = self.server.pages[min(self.server.served, len(self.server.pages) - 1)].encode()
        self.server.served += 1
        if not page:
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def metrics() -> Iterator[Metrics]:
    with Metrics() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def page(primary: int, proxy: int) -> str:
    return (
        "# TYPE dstk_worker_partitions gauge\n"
        f'dstk_worker_partitions{{keyspace="default",role="primary"}} {primary}.0\n'
        f'dstk_worker_partitions{{keyspace="other",role="proxy"}} {proxy}.0\n'
        'dstk_worker_partitions{keyspace="default",role="following"} 7.0\n'
    )


def test_it_ends_once_nothing_is_served_or_passed_on(metrics: Metrics) -> None:
    metrics.pages = [page(2, 0), page(0, 2), page(0, 0)]
    assert main(["wait-empty", "--metrics-address", metrics.address]) == 0
    assert metrics.served == 3


def test_it_gives_up_when_time_is_up(metrics: Metrics, capsys: pytest.CaptureFixture[str]) -> None:
    metrics.pages = [page(2, 1)]
    assert main(["wait-empty", "--metrics-address", metrics.address, "--seconds", "0"]) == UNAVAILABLE
    assert f"the worker at {metrics.address} still has 3 partitions" in capsys.readouterr().err


def test_a_worker_that_has_ended_is_not_waited_for(metrics: Metrics, capsys: pytest.CaptureFixture[str]) -> None:
    with Metrics() as closed:
        address = closed.address
    assert main(["wait-empty", "--metrics-address", address]) == 0
    assert "has ended" in capsys.readouterr().err


def test_a_worker_that_does_not_answer_has_not_ended(metrics: Metrics) -> None:
    metrics.pages = ["", page(1, 0), "", page(0, 0)]
    assert main(["wait-empty", "--metrics-address", metrics.address]) == 0
    assert metrics.served == 4


def test_one_that_never_answers_is_no_empty_worker(metrics: Metrics, capsys: pytest.CaptureFixture[str]) -> None:
    metrics.pages = [""]
    assert main(["wait-empty", "--metrics-address", metrics.address, "--seconds", "0"]) == UNAVAILABLE
    assert f"the worker at {metrics.address} does not answer" in capsys.readouterr().err


def test_what_is_no_worker_is_no_empty_worker(metrics: Metrics, capsys: pytest.CaptureFixture[str]) -> None:
    metrics.pages = ["go_goroutines 7\n"]
    assert main(["wait-empty", "--metrics-address", metrics.address]) == 2
    assert "serves no metrics of a worker" in capsys.readouterr().err
