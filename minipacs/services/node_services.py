"""The services of a node put together: its files, the index of them, and what serves them."""

from __future__ import annotations

import logging
import sqlite3
from typing import TYPE_CHECKING

from minipacs.errors import StorageError
from minipacs.services.index import INDEX_NAME, Index
from minipacs.services.object_files import ObjectFiles
from minipacs.services.query_retrieve import handlers
from minipacs.services.server import ServiceServer
from minipacs.services.storage import StorageSCP
from minipacs.services.telling import tell

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from pathlib import Path

    from minipacs.peers import PeerTable
    from minipacs.settings import Settings


logger = logging.getLogger("minipacs")


class NodeServices(ServiceServer):
    """The services that *settings* switch on.

    Args:
        settings: who we are, and where objects are kept.
        peers: returns the table that is in force now.
        client_context: returns the context by which the destination of a C-MOVE with ``tls = true`` is called; None:
            it is made of the files under [tls] as they are then.

    Raises:
        StorageError: the folder cannot be used.
    """

    def __init__(
        self,
        settings: Settings,
        peers: Callable[[], PeerTable],
        client_context: Callable[[], ssl.SSLContext] | None = None,
    ) -> None:
        storage = settings.storage
        assert storage.folder is not None, "switched off"
        self.files = ObjectFiles(storage.folder, storage.limits, self._removed)
        self.index = self._open_index()
        scp = StorageSCP(self.files, self.index.add, overwrite=storage.overwrite)
        self._tls = settings.tls
        context = client_context or self._client_context
        super().__init__(
            settings.ae_title,
            [*scp.handlers(), *handlers(self.index, peers, settings.ae_title, tell, context)],
            self.files,
            limits=settings.limits,
            timeouts=settings.timeouts,
            object_size=storage.limits.object_size,
            any_sop_class=storage.any_sop_class,
        )

    def stop(self) -> None:
        """End, and leave the folder to others."""
        super().stop()
        self.index.close()
        self.files.close()

    def _open_index(self) -> Index:
        """The index, with all that is stored in it: after a crash or by hand, files come and go that it did not see."""
        try:
            index = Index(self.files.folder / INDEX_NAME)
            if index.is_new and len(self.files):
                logger.info("storage: making the index of %d objects", len(self.files))
            added, removed = index.catch_up(self.files, failed=_not_listed)
        except sqlite3.Error as error:
            self.files.close()
            raise StorageError(
                [f"{self.files.folder / INDEX_NAME}: file: must be usable as an index, not so: {error}"]
            ) from None
        if added or removed:
            logger.info("storage: index brought up to date, %d objects added, %d removed", added, removed)
        return index

    def _client_context(self) -> ssl.SSLContext:
        """By which the destination of a C-MOVE is called, with the files of [tls] as they are now."""
        from minipacs.tls import client_context

        return client_context(self._tls)

    def _removed(self, path: Path) -> None:
        """Called in the threads of associations, and before there is an index."""
        if (index := getattr(self, "index", None)) is not None:
            index.remove(path)


def _not_listed(path: Path, error: Exception) -> None:
    logger.warning("storage: %s is not listed: %s", path, error)
