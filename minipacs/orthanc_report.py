"""What Orthanc has to be told, and what it tells, for a person or a script. It prints nothing itself."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from minipacs.escape import escape

if TYPE_CHECKING:
    from minipacs.diagnosis import Diagnosis
    from minipacs.orthanc import System
    from minipacs.registration import Wanted

# What decides whether an echo proves anything, and REST of 1.10.1 does not show.
_HIDDEN = "DicomAlwaysAllowEcho, DicomCheckCalledAet, DicomCheckModalityHost, RemoteAccessAllowed"

_WHERE = '// Where it has "DicomModalities" already, that takes the inner line alone; a comma parts it from others.'


def snippet(wanted: Wanted) -> str:
    """Return the lines that make Orthanc know us, in both forms that its configuration takes."""
    array = ", ".join(map(json.dumps, (wanted.ae_title, wanted.host, wanted.port)))
    fields = ", ".join(f"{json.dumps(name)} : {json.dumps(value)}" for name, value in wanted.as_fields().items())
    longer = _section(wanted.name, f"{{ {fields} }}")
    if wanted.uses_tls:  # of which the short form cannot tell
        return "\n".join(["// This goes into Orthanc's configuration, behind its first brace.", _WHERE, *longer])
    return "\n".join(
        [
            "// One of these two goes into Orthanc's configuration, behind its first brace.",
            _WHERE,
            *_section(wanted.name, f"[ {array} ]"),
            "",
            "// The longer form (Orthanc 1.5.0 and later), for whoever has more to say:",
            *longer,
        ]
    )


def _section(name: str, value: str) -> list[str]:
    return ['"DicomModalities" : {', f"  {json.dumps(name)} : {value}", "},"]


def system_as_text(system: System) -> str:
    """Return who an Orthanc is, and a line for each of its settings that REST shows."""
    lines = [f"{escape(system.name) or 'Orthanc'}: {escape(system.ae_title)} on DICOM port {system.port}"]
    width = max(len(escape(name)) for name in system.settings)
    for name, value in system.settings.items():
        text = value if isinstance(value, str) else json.dumps(value)
        lines.append(f"  {escape(name).ljust(width)}  {escape(text)}".rstrip())
    lines.append(f"  not shown by REST: {_HIDDEN}")
    return "\n".join(lines)


def check_as_json(url: str, system: System, name: str | None, outcome: str, words: Diagnosis) -> str:
    """Return what a check found as one JSON object; texts in Orthanc's settings are escaped, for `jq -r` shows them."""
    return json.dumps(
        {
            "url": url,
            "name": name,
            "outcome": outcome,
            "code": words.code,
            "reason": words.reason,
            "fix": words.fix or None,
            "settings": _escaped(system.settings),
        },
        separators=(",", ":"),
    )


def _escaped(value: object) -> object:
    """Return a value of JSON with each text in it safe to show, the names in objects too."""
    if isinstance(value, str):
        return escape(value)
    if isinstance(value, dict):
        return {escape(name): _escaped(inner) for name, inner in value.items()}
    return [_escaped(inner) for inner in value] if isinstance(value, list) else value
