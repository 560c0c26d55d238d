"""The services of a node put together: its files, the index of them, and what serves them."""

from __future__ import annotations

import errno
import logging
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING

from minipacs.errors import StorageError
from minipacs.escape import readable
from minipacs.services import storage_folder
from minipacs.services.index import Index
from minipacs.services.index_file import INDEX_NAME
from minipacs.services.object_files import ObjectFiles
from minipacs.services.query_retrieve import handlers
from minipacs.services.server import ServiceServer
from minipacs.services.storage import StorageSCP
from minipacs.services.telling import tell

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from minipacs.peers import PeerTable
    from minipacs.services.header import Header
    from minipacs.settings import Settings

_MOST_TOLD = 20  # files that are not listed, by name

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
        self.files = ObjectFiles(storage.folder, storage.limits, self._leaving, _tell)
        self.index = self._open_index()
        scp = StorageSCP(self.files, self._listing, overwrite=storage.overwrite)
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
        file = self.files.folder / INDEX_NAME
        try:
            index = Index(file)
            if index.is_new and len(self.files):
                logger.info("storage: making the index of %d objects", len(self.files))
            self._catch_up(index)
        except StorageError:
            self.files.close()
            raise
        except (sqlite3.Error, OSError) as error:
            self.files.close()
            raise StorageError([f"{file}: file: must be usable as an index, not so: {error}"]) from None
        return index

    def _catch_up(self, index: Index) -> None:
        faults: list[str] = []
        paths = storage_folder.names(self.files.folder)
        added, removed = index.catch_up(paths, failed=lambda path, error: faults.append(_as_line(path, error)))
        for fault in faults[:_MOST_TOLD]:
            logger.warning("storage: %s", fault)
        if len(faults) > _MOST_TOLD:
            logger.warning("storage: and %d more are not listed", len(faults) - _MOST_TOLD)
        if added or removed:
            logger.info("storage: index brought up to date, %d objects added, %d removed", added, removed)

    def _client_context(self) -> ssl.SSLContext:
        """By which the destination of a C-MOVE is called, with the files of [tls] as they are now."""
        from minipacs.tls import client_context

        return client_context(self._tls)

    def _listing(
        self, place: Path, header: Header, file: Path, leaving: Sequence[Path]
    ) -> AbstractContextManager[None]:
        return self._changing(self.index.adding(place, header, file, leaving))

    def _leaving(self, paths: Sequence[Path]) -> AbstractContextManager[None]:
        return self._changing(self.index.removing(paths))

    @contextmanager
    def _changing(self, change: AbstractContextManager[None]) -> Iterator[None]:
        """A change of the index, whose failure is one of a file of ours."""
        try:
            with change:
                yield
        except sqlite3.Error as error:
            raise OSError(errno.EBUSY, f"the index cannot be written: {error}", str(self.index.file)) from None


def _tell(kind: str, level: int, text: str) -> None:
    tell(kind, text, level=level)


def _as_line(path: Path, error: Exception) -> str:
    why = error.strerror if isinstance(error, OSError) and error.strerror else error
    return f"{readable(str(path))} is not listed: {why}"
