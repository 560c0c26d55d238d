"""What became of a C-MOVE or C-GET, as a person or a script reads it. It prints nothing itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minipacs.report import as_json as json_of
from minipacs.services.retrieve_scu import Get

if TYPE_CHECKING:
    from minipacs.services.retrieve_scu import Move


def as_text(retrieval: Move | Get) -> str:
    """Return all in a line, and a line for each file that is otherwise than what came, or than it should be."""
    counts = retrieval.counts
    parts = [f"{retrieval.done} of {_objects(retrieval.total)} {_verb(retrieval)}"]
    parts += [f"{counts.warned} with a warning"] if counts.warned else []
    parts += [f"{counts.failed} failed"] if counts.failed else []
    parts += ["cancelled"] if retrieval.is_cancelled else []
    kept, notes = (retrieval.files.kept, retrieval.notes) if isinstance(retrieval, Get) else ([], [])
    return "\n".join([*(f"{path}: was there, is otherwise, and stays" for path in kept), *notes, ", ".join(parts)])


def as_json(retrieval: Move | Get) -> str:
    """Return all as one JSON object; what there is nothing to say of is null."""
    counts, failure = retrieval.counts, retrieval.failure
    fields = {
        "objects": retrieval.total,
        "completed": counts.completed,
        "warned": counts.warned,
        "failed": counts.failed,
        "cancelled": retrieval.is_cancelled,
        "failed_sop_instance_uids": retrieval.failed_uids,
        "code": failure.code if failure else None,
        "reason": failure.reason if failure else None,
        "fix": (failure.fix or None) if failure else None,
    }
    if isinstance(retrieval, Get):
        fields |= {"files": list(map(str, retrieval.files.received)), "kept": list(map(str, retrieval.files.kept))}
        fields |= {"notes": retrieval.notes}
    return json_of(fields)


def _verb(retrieval: Move | Get) -> str:
    return "received" if isinstance(retrieval, Get) else "moved"


def _objects(number: int) -> str:
    return "1 object" if number == 1 else f"{number} objects"
