"""The end of accepting connections, in which none is lost between the system and us."""

from __future__ import annotations

import asyncio


async def finish_accepting(server: asyncio.Server) -> None:
    """Close the listening sockets; what was accepted becomes a connection first, or nobody would close it."""
    for sock in server.sockets:
        asyncio.get_running_loop().remove_reader(sock)
    for _ in range(3):
        await asyncio.sleep(0)
    server.close()
