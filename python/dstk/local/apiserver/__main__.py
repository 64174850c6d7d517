"""`python -m dstk.local.apiserver --port 0 --dir D --ready-file F`: the embedded API as a process of its own."""

from __future__ import annotations

import argparse
import asyncio
import gc
import signal
from pathlib import Path

from dstk.local.apiserver.files import write_json
from dstk.local.apiserver.server import ApiServer, Settings


async def _serve(arguments: argparse.Namespace) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    settings = Settings(port=arguments.port, directory=arguments.dir, logs=arguments.logs, history=arguments.history)
    async with ApiServer(settings) as server:
        # What is there now lives as long as the process: the collector need not walk it again and again.
        gc.collect()
        gc.freeze()
        if arguments.ready_file is not None:
            write_json(arguments.ready_file, {"url": server.url})
        print(server.url, flush=True)
        await stop.wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m dstk.local.apiserver", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1 (0: any free one)")
    parser.add_argument("--dir", type=Path, default=None, help="directory that keeps the state over restarts")
    parser.add_argument("--logs", type=Path, default=None, help="directory with NAME.log of pods, for kubectl logs")
    parser.add_argument("--history", type=int, default=10_000, help="changes a kind that watches can replay")
    parser.add_argument("--ready-file", type=Path, default=None, help='gets {"url": ...} once it listens')
    asyncio.run(_serve(parser.parse_args()))


if __name__ == "__main__":
    main()
