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
from minipacs.services.calling import GONE, Calling
from minipacs.services.content import OddDataSet, as_it_is, written_anew
from minipacs.services.statuses import SUCCESS, failure, is_stored
from minipacs.services.store_plan import loads, syntaxes_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pydicom.dataset import Dataset

    from minipacs.services.caller import Caller
    from minipacs.services.content import Content
    from minipacs.services.image_files import Fault, ImageFile
    from minipacs.services.store_plan import Load

_STOPPING = 2.0  # seconds
_PASSING = {"rejected.congestion", "rejected.limit"}  # by a peer that has not yet let go of the association before
_TRIES, _PAUSE = 30, 0.3  # how often it is asked again, and after how many seconds each time


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
        ms: milliseconds from the C-STORE-RQ to its response, or to the end of the association; None: it was not sent.
        is_tried: whether there was an association for it; else the reason is why there was none.
    """

    file: ImageFile
    outcome: ObjectOutcome
    sent_as: str = ""
    status: int | None = None
    code: str = ""
    reason: str = ""
    fix: str = ""
    ms: float | None = None
    is_tried: bool = True


def store(files: Sequence[ImageFile], caller: Caller, jobs: int = 1) -> Iterator[ObjectResult]:
    """Send *files* and yield what became of each, as soon as it is known.

    An association that is lost costs the object that was under way; the rest goes over another one, as long as there is
    one to be had.

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
        self._has_had_one = False
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
        if not waiting:
            self._gone = None  # one association was refused, and another one had
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
        tries = _TRIES
        try:
            while waiting and tries and not self._is_stopped.is_set():
                tries = _TRIES if self._has_sent_over_one(load, waiting) else self._tries_left(tries)
        finally:
            self._has_answered.set()
            self._results.put(None)

    def _has_sent_over_one(self, load: Load, waiting: deque[ImageFile]) -> bool:
        """Send over an association what is waiting, until it is lost; whether there was one."""
        calling = Calling(self._caller, load.contexts())
        self._callings.add(calling)
        is_had = False
        try:
            with calling:
                is_had = self._has_had_one = True
                self._gone = None
                self._has_answered.set()
                self._send_all(calling, waiting)
        except Failed as failed:
            if not is_had:
                self._gone = failed, calling.local_address
        finally:
            self._callings.discard(calling)
        return is_had

    def _tries_left(self, tries: int) -> int:
        """Wait for a peer that took an association before, and refuses another one for the moment (PS3.8 §9.3.4)."""
        if self._gone is None or self._gone[0].code not in _PASSING or not self._has_had_one:
            return 0
        self._is_stopped.wait(_PAUSE)
        return tries - 1

    def _send_all(self, calling: Calling, waiting: deque[ImageFile]) -> None:
        """Send what is waiting.

        Raises:
            Failed: the association is lost; what became of the object that was under way is told.
        """
        accepted = {(str(cx.abstract_syntax), str(cx.transfer_syntax[0])) for cx in calling.accepted}
        number = 0
        while not self._is_stopped.is_set():
            try:
                file = waiting.popleft()
            except IndexError:
                return
            syntaxes = syntaxes_for(file.transfer_syntax)
            syntax = next((uid for uid in syntaxes if (file.sop_class, uid) in accepted), None)
            if syntax is None:
                self._results.put(self._failed(file, _refused(calling, file), calling.local_address))
                continue
            number += 1
            self._send(calling, file, syntax, number % 0xFFFF + 1)

    def _send(self, calling: Calling, file: ImageFile, syntax: str, message_id: int) -> None:
        """Send an object, and tell what became of it; raises as _send_all()."""
        started: float | None = None
        try:
            content = _content(file, syntax)
            started = perf_counter()
            answer = calling.store(content, message_id)
        except Failed as failed:
            sent_as = syntax if started is not None else ""
            self._results.put(self._failed(file, failed, calling.local_address, sent_as, ms=_since(started)))
            if started is not None:
                raise
        except ValueError as error:  # pynetdicom takes no such UID
            self._results.put(self._failed(file, _unreadable(error), calling.local_address))
        else:
            self._results.put(self._answered(calling, file, syntax, answer, _since(started)))

    def _answered(
        self, calling: Calling, file: ImageFile, syntax: str, answer: Dataset, ms: float | None
    ) -> ObjectResult:
        status = int(answer.Status)
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
        ms: float | None = None,
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


def _content(file: ImageFile, syntax: str) -> Content:
    """Return what is sent of a file.

    Raises:
        Failed: it is not what it was, or has what pydicom cannot read.
    """
    make = as_it_is if syntax == file.transfer_syntax else written_anew
    try:
        return make(file.path, file.sop_class, file.sop_instance, syntax)
    except OddDataSet as error:
        raise Failed(Outcome.FAILURE, "store.odd", str(error)) from None
    except Exception as error:  # noqa: BLE001
        raise _unreadable(error) from None


def _unreadable(error: Exception) -> Failed:
    return Failed(Outcome.FAILURE, "store.unreadable", str(error) or type(error).__name__)


def _since(started: float | None) -> float | None:
    return None if started is None else (perf_counter() - started) * 1000


def _refused(calling: Calling, file: ImageFile) -> Failed:
    """Name the cause of a file for which no context was accepted (PS3.8 Table 9-18)."""
    results = {cx.result or 0 for cx in calling.refused if cx.abstract_syntax == file.sop_class}
    if not results or results == {4} or any(cx.abstract_syntax == file.sop_class for cx in calling.accepted):
        return Failed(Outcome.NO_CONTEXT, "service.transfer-syntax")
    return Failed(Outcome.NO_CONTEXT, "service.sop-class", "/".join(map(str, sorted(results - {4}))))
