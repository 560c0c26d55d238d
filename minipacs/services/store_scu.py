"""The Storage SCU: files → what became of each (PS3.4 Annex B)."""

from __future__ import annotations

import queue
import threading
from collections import deque
from enum import StrEnum
from time import perf_counter
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from minipacs.echo_result import Outcome
from minipacs.recognition import Failed
from minipacs.services.bounded_reading import whole
from minipacs.services.calling import GONE, Calling
from minipacs.services.statuses import SUCCESS, failure, is_stored
from minipacs.services.store_plan import loads, syntaxes_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from minipacs.services.caller import Caller
    from minipacs.services.image_files import Fault, ImageFile
    from minipacs.services.store_plan import Load

_MOST_LOST = 3  # associations one after the other that end before an object is answered
_STOPPING = 2.0  # seconds


class ObjectOutcome(StrEnum):
    """What became of an object that was to be stored."""

    STORED = "stored"
    WARNED = "warned"  # stored, with a warning
    FAILED = "failed"


class ObjectResult(Struct, frozen=True, kw_only=True):
    """What became of an object.

    Attributes:
        file: where it is, and what it is.
        outcome: one of three.
        sent_as: UID of the transfer syntax in which it was sent; empty where it was not sent.
        status: that of the C-STORE-RSP (0000,0900); None when none came.
        code: the row of the catalogue; empty after success.
        reason: what is true, in words; empty after success.
        fix: what to change, on which side; empty when there is nothing.
        ms: milliseconds from the C-STORE-RQ to its response.
        is_tried: whether there was an association for it.
    """

    file: ImageFile
    outcome: ObjectOutcome
    sent_as: str = ""
    status: int | None = None
    code: str = ""
    reason: str = ""
    fix: str = ""
    ms: float = 0.0
    is_tried: bool = True


def store(files: Sequence[ImageFile], caller: Caller, jobs: int = 1) -> Iterator[ObjectResult]:
    """Send *files* and yield what became of each, as soon as it is known.

    An association that is lost costs the object that was under way; the rest goes over another one, until three in a
    row are lost without a single answer, or the peer cannot be had.

    Args:
        files: what to send.
        caller: to whom, and how.
        jobs: associations side by side, at most.
    """
    errand = _Errand(caller)
    yield from (errand.cannot(file, file.fault) for file in files if file.fault)
    try:
        for load in loads(file for file in files if not file.fault):
            yield from errand.run(load, jobs)
    finally:
        errand.stop()


class _Errand:
    """The associations by which one load after the other is sent."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._results: queue.Queue[ObjectResult | None] = queue.Queue()
        self._callings: set[Calling] = set()
        self._threads: list[threading.Thread] = []
        self._has_answered = threading.Event()  # whether the first association was had, or not
        self._is_stopped = threading.Event()
        self._gone: tuple[Failed, str] | None = None  # why nothing more is tried, and where we called from

    def run(self, load: Load, jobs: int) -> Iterator[ObjectResult]:
        waiting = deque(load.files)
        self._threads = [
            threading.Thread(target=self._work, args=(load, waiting), daemon=True)
            for _ in range(min(jobs, len(load.files)) if self._gone is None else 0)
        ]
        working = 0
        for thread in self._threads:
            if self._gone is None:  # who is refused the first association need not be asked for more
                thread.start()
                working += 1
                self._has_answered.wait()
        while working:
            result = self._results.get()
            if result is None:
                working -= 1
            else:
                yield result
        while waiting:  # nobody is left to send them
            assert self._gone is not None
            yield replace(self._failed(waiting.popleft(), *self._gone), is_tried=False)
        if self._gone is not None and self._gone[0].outcome not in GONE:
            self._gone = None

    def cannot(self, file: ImageFile, fault: Fault) -> ObjectResult:
        """Return the result for a file that cannot be sent to anybody."""
        return self._failed(file, Failed(Outcome.FAILURE, fault.code, fault.detail), "")

    def stop(self) -> None:
        """End what is under way, now."""
        self._is_stopped.set()
        for calling in tuple(self._callings):
            calling.cut()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(_STOPPING)

    def _work(self, load: Load, waiting: deque[ImageFile]) -> None:
        lost = 0
        try:
            while waiting and lost < _MOST_LOST and not self._is_stopped.is_set():
                calling = Calling(self._caller, load.contexts())
                self._callings.add(calling)
                try:
                    with calling:
                        self._has_answered.set()
                        lost = self._send_all(calling, waiting, lost)
                except Failed as failed:
                    self._gone = failed, calling.local_address
                    if failed.outcome in GONE:
                        return
                    lost += 1
                finally:
                    self._callings.discard(calling)
        finally:
            self._has_answered.set()
            self._results.put(None)

    def _send_all(self, calling: Calling, waiting: deque[ImageFile], lost: int) -> int:
        """Send what is waiting; return how many associations were lost in a row, which is none."""
        accepted = {(str(cx.abstract_syntax), str(cx.transfer_syntax[0])) for cx in calling.accepted}
        number = 0
        while not self._is_stopped.is_set():
            try:
                file = waiting.popleft()
            except IndexError:
                return lost
            syntaxes = syntaxes_for(file.transfer_syntax)
            syntax = next((uid for uid in syntaxes if (file.sop_class, uid) in accepted), None)
            if syntax is None:
                self._results.put(self._failed(file, _refused(calling, file), calling.local_address))
                continue
            number += 1
            try:
                self._results.put(self._send(calling, file, syntax, number % 0xFFFF + 1))
                lost = 0
            except Failed as failed:
                self._results.put(self._failed(file, failed, calling.local_address, syntax))
                raise Failed(failed.outcome, failed.code, failed.detail, failed.codes) from None
        return lost

    def _send(self, calling: Calling, file: ImageFile, syntax: str, message_id: int) -> ObjectResult:
        started = perf_counter()
        try:
            dataset = file.path if syntax == file.transfer_syntax else whole(file.path)
            answer = calling.store(dataset, message_id)
        except (OSError, AttributeError, ValueError, EOFError) as error:  # it is not what it was, or never was whole
            failed = Failed(Outcome.FAILURE, "store.unreadable", str(error))
            return self._failed(file, failed, calling.local_address)
        status, ms = int(answer.Status), (perf_counter() - started) * 1000
        if status == SUCCESS:
            return ObjectResult(file=file, outcome=ObjectOutcome.STORED, sent_as=syntax, status=status, ms=ms)
        failed = failure("C-STORE", status, answer.get("ErrorComment", ""))
        outcome = ObjectOutcome.WARNED if is_stored(status) else ObjectOutcome.FAILED
        return self._failed(file, failed, calling.local_address, syntax, outcome=outcome, status=status, ms=ms)

    def _failed(
        self,
        file: ImageFile,
        failed: Failed,
        local_address: str,
        sent_as: str = "",
        outcome: ObjectOutcome = ObjectOutcome.FAILED,
        status: int | None = None,
        ms: float = 0.0,
    ) -> ObjectResult:
        from minipacs.names import uid_name

        words = self._caller.words(
            failed,
            local_address,
            operation="C-STORE",
            sop_class=uid_name(file.sop_class) or file.sop_class,
            syntax=uid_name(file.transfer_syntax) or file.transfer_syntax,
        )
        return ObjectResult(
            file=file,
            outcome=outcome,
            sent_as=sent_as,
            status=status,
            code=words.code,
            reason=words.reason,
            fix=words.fix,
            ms=ms,
        )


def _refused(calling: Calling, file: ImageFile) -> Failed:
    """Name the cause of a file for which no context was accepted (PS3.8 Table 9-18)."""
    results = {cx.result or 0 for cx in calling.refused if cx.abstract_syntax == file.sop_class}
    if not results or results == {4} or any(cx.abstract_syntax == file.sop_class for cx in calling.accepted):
        return Failed(Outcome.NO_CONTEXT, "service.transfer-syntax")
    return Failed(Outcome.NO_CONTEXT, "service.sop-class", "/".join(map(str, sorted(results - {4}))))
