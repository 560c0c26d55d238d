"""The end of accepting connections, in which none is lost between the system and us."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


async def finish_accepting(servers: Sequence[asyncio.Server]) -> None:
    """Close the listening sockets; what was accepted becomes a connection first, or nobody would close it."""
    for sock in [sock for server in servers for sock in server.sockets]:
        asyncio.get_running_loop().remove_reader(sock)
    for _ in range(3):
        await asyncio.sleep(0)
    for server in servers:
        server.close()
