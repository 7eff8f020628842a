"""What the gateway's tests share."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from tornado.ioloop import IOLoop
from tornado.platform.asyncio import AsyncIOLoop


@pytest.fixture
def io_loop() -> Iterator[IOLoop]:
    """pytest-tornado's loop, made in the way that Tornado has not deprecated."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    io_loop = AsyncIOLoop(asyncio_loop=loop, make_current=False)
    yield io_loop
    # What is cancelled now still has to run to its end.
    leftover = asyncio.all_tasks(loop)
    for task in leftover:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*leftover, return_exceptions=True))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.run_until_complete(loop.shutdown_default_executor())
    asyncio.set_event_loop(None)
    io_loop.close(all_fds=True)
