"""The proxies between the parties of a cluster: whose bytes go through, and whose do not."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from dstk.local.apiserver.files import read_when_written, write_json
from dstk.local.runner import Life
from dstk.testing.network import Network


class Echo:
    """A worker of a kind: what is sent to it comes back, and it remembers it."""

    def __init__(self) -> None:
        self.heard = b""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            self.heard += data
            writer.write(data)
            await writer.drain()
        writer.close()


@asynccontextmanager
async def behind_proxies(folder: Path) -> AsyncIterator[tuple[Network, Echo, int]]:
    """A network in front of an Echo called worker-0; this process is "client". The port of the proxy."""
    echo = Echo()
    server = await asyncio.start_server(echo.answer, "127.0.0.1", 0)
    address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    network = Network(lambda: {"client": os.getpid()})

    def command(life: Life) -> Sequence[str]:
        write_json(life.ready_file, {"data": address, "control": address, "metrics": address})
        return [life.name, life.pod_uid]

    ready_file = folder / "worker-0.json"
    assert network.interpose(command)(Life("worker-0", "uid", ready_file, folder)) == ["worker-0", "uid"]
    published = await read_when_written(ready_file)
    assert published["metrics"] == address
    assert published["data"] != address
    assert network.direct["worker-0"]["control"] == address
    try:
        yield network, echo, int(published["data"].rpartition(":")[2])
    finally:
        await network.stop()
        server.close()


async def test_bytes_go_both_ways(tmp_path: Path) -> None:
    async with behind_proxies(tmp_path) as (_, _, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        content = os.urandom(3 << 20)
        writer.write(content)
        assert await reader.readexactly(len(content)) == content
        writer.close()


async def test_what_was_sent_into_a_silent_cut_arrives_when_it_is_healed(tmp_path: Path) -> None:
    async with behind_proxies(tmp_path) as (network, echo, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"before ")
        assert await reader.readexactly(7) == b"before "
        cut = network.cut("client", "worker-0")
        writer.write(b"during ")
        late_reader, late_writer = await asyncio.open_connection("127.0.0.1", port)
        late_writer.write(b"anew ")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await reader.read(1)
        assert echo.heard == b"before "
        network.heal(cut)
        assert await reader.readexactly(7) == b"during "
        assert await late_reader.readexactly(5) == b"anew "
        writer.close()
        late_writer.close()


async def test_a_loud_cut_resets_connections_and_refuses_new_ones(tmp_path: Path) -> None:
    async with behind_proxies(tmp_path) as (network, echo, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"before ")
        await reader.readexactly(7)
        cut = network.cut("worker-0", "client", "loud")
        with pytest.raises(ConnectionResetError):
            await reader.readexactly(1)
        late_reader, late_writer = await asyncio.open_connection("127.0.0.1", port)
        late_writer.write(b"anew ")
        with pytest.raises(ConnectionResetError):
            await late_reader.readexactly(1)
        assert echo.heard == b"before "
        network.heal(cut)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"after ")
        assert await reader.readexactly(6) == b"after "
        writer.close()


async def test_a_cut_is_between_two_parties_alone(tmp_path: Path) -> None:
    program = (
        "import socket, sys; s = socket.create_connection(('127.0.0.1', int(sys.argv[1])));"
        "s.sendall(b'hello'); print(s.recv(5).decode())"
    )
    async with behind_proxies(tmp_path) as (network, _, port):
        network.cut("client", "worker-0", "loud")
        network.cut("client", "worker-1")
        other = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, str(port), stdout=asyncio.subprocess.PIPE
        )
        out, _ = await other.communicate()
        assert out.decode().strip() == "hello"


async def test_the_next_life_of_a_worker_has_other_addresses_but_the_same_front(tmp_path: Path) -> None:
    async with behind_proxies(tmp_path) as (network, _, port):
        reader, _ = await asyncio.open_connection("127.0.0.1", port)
        front = network.fronts["worker-0"]
        later = Echo()
        second = await asyncio.start_server(later.answer, "127.0.0.1", 0)
        address = f"127.0.0.1:{second.sockets[0].getsockname()[1]}"

        def command(life: Life) -> Sequence[str]:
            write_json(life.ready_file, {"data": address, "control": address})
            return []

        ready_file = tmp_path / "worker-0.json"
        ready_file.unlink()
        network.interpose(command)(Life("worker-0", "uid-2", ready_file, tmp_path))
        assert json.loads(json.dumps(await read_when_written(ready_file)))["data"] != f"127.0.0.1:{port}"
        with pytest.raises(ConnectionResetError):
            await reader.readexactly(1)
        assert network.fronts["worker-0"] == front
        reader, writer = await asyncio.open_connection("127.0.0.1", int(front.rpartition(":")[2]))
        writer.write(b"again")
        assert await reader.readexactly(5) == b"again"
        assert later.heard == b"again"
        writer.close()
        second.close()
