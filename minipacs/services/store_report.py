"""What became of objects, as a person or a script reads it. It prints nothing itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minipacs.names import uid_name
from minipacs.report import as_json as json_of
from minipacs.report import rounded
from minipacs.services.store_scu import ObjectOutcome

if TYPE_CHECKING:
    from minipacs.services.store_scu import ObjectResult

_SCREEN = 20  # lines


class Counts:
    """How many objects came to what.

    Args:
        objects: how many are to be sent.
        skipped: how many files in folders are no DICOM.
    """

    def __init__(self, objects: int, skipped: int) -> None:
        self._objects = objects
        self._skipped = skipped
        self._outcomes = dict.fromkeys(ObjectOutcome, 0)
        self._bytes = 0
        self._not_tried = 0
        self._said: set[str] = set()
        self._causes: dict[str, tuple[ObjectResult, int]] = {}

    def add(self, result: ObjectResult) -> None:
        """Count one."""
        self._outcomes[result.outcome] += 1
        self._not_tried += not result.is_tried
        if result.outcome is not ObjectOutcome.FAILED:
            self._bytes += result.file.size

    def is_new(self, words: str) -> bool:
        """Whether these words were not said yet, and say something."""
        is_new = bool(words) and words not in self._said
        self._said.add(words)
        return is_new

    def told(self, result: ObjectResult) -> None:
        """Note that something was said of it."""
        first, count = self._causes.get(result.code, (result, 0))
        self._causes[result.code] = first, count + 1

    def recap(self) -> list[str]:
        """Return what was said, each cause once, where it was so much that it is out of sight by now."""
        if sum(count for _, count in self._causes.values()) <= _SCREEN:
            return []
        lines = ((f"{count} × {first.reason} [{first.code}]", first.fix) for first, count in self._causes.values())
        return [line for reason, fix in lines for line in (reason, f"fix: {fix}" if fix else "") if line]

    @property
    def done(self) -> int:
        """Of how many it is known what became of them."""
        return sum(self._outcomes.values())

    @property
    def is_success(self) -> bool:
        """Whether there was something to store, and all of it is."""
        return self._objects > 0 and self._stored == self._objects

    @property
    def _stored(self) -> int:
        return self.done - self._outcomes[ObjectOutcome.FAILED]

    def as_text(self, seconds: float) -> str:
        """Return all in a line; *seconds* is what it took."""
        objects = "1 object" if self._objects == 1 else f"{self._objects} objects"
        parts = [f"{self._stored} of {objects} stored" if self._objects else "nothing to store: no DICOM file is there"]
        if self._stored:
            rate = f"{self._stored / seconds:.0f} a second, {self._bytes / seconds / 1e6:.1f} MB/s"
            parts[0] += f" in {seconds:.2f} s ({rate})"
        for count, words in (
            (self._outcomes[ObjectOutcome.WARNED], "with a warning"),
            (self._outcomes[ObjectOutcome.FAILED] - self._not_tried, "failed"),
            (self._not_tried, "not tried"),
            (self._objects - self.done, "without an answer, or not tried"),  # Ctrl-C
            (self._skipped, "files skipped: no DICOM" if self._skipped != 1 else "file skipped: no DICOM"),
        ):
            if count:
                parts.append(f"{count} {words}")
        return ", ".join(parts)

    def as_json(self, seconds: float) -> str:
        """Return all as one JSON object; *seconds* is what it took."""
        return json_of(
            {
                "objects": self._objects,
                "stored": self._stored,
                "warned": self._outcomes[ObjectOutcome.WARNED],
                "failed": self._outcomes[ObjectOutcome.FAILED],
                "not_tried": self._not_tried,
                "skipped": self._skipped,
                "bytes": self._bytes,
                "seconds": round(seconds, 6),
            }
        )


def as_text(result: ObjectResult, with_fix: bool) -> str:
    """Return what is to say of an object, behind its path; of all that there is no association for, without one."""
    place = f"{_path(result)}: {result.outcome}: " if result.is_tried else "minipacs: "
    line = f"{place}{result.reason} [{result.code}]"
    return f"{line}\nfix: {result.fix}" if with_fix else line


def as_json(result: ObjectResult) -> str:
    """Return what became of an object as one JSON object; what there is nothing to say of is null."""
    file = result.file
    return json_of(
        {
            "path": _path(result),
            "sop_class_uid": file.sop_class or None,
            "sop_class": uid_name(file.sop_class) or None,
            "sop_instance_uid": file.sop_instance or None,
            "transfer_syntax_uid": file.transfer_syntax or None,
            "sent_as": result.sent_as or None,
            "outcome": result.outcome,
            "tried": result.is_tried,
            "status": None if result.status is None else f"0x{result.status:04X}",
            "code": result.code or None,
            "reason": result.reason or None,
            "fix": result.fix or None,
            "bytes": file.size,
            "ms": rounded(result.ms),
        }
    )


def _path(result: ObjectResult) -> str:
    """It may hold bytes that are no text; a newline in it shall not make two lines."""
    text = str(result.file.path)
    return text if text.isprintable() else text.encode("unicode_escape", "surrogateescape").decode("ascii")
