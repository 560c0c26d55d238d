"""The README's table of the catalogue, between its two marks: `python -m tests.readme_table` writes it anew."""

import sys
from collections.abc import Iterable
from pathlib import Path

from minipacs.catalogue import Row
from minipacs.diagnosis import WE_ARE_CALLED, WE_CALL, explain

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- the catalogue: made from minipacs/diagnosis.py -->", "<!-- end of the catalogue -->"


def table() -> str:
    """What belongs between the marks."""
    return f"\n{_part('When we call', WE_CALL)}\n{_part('When we are called', WE_ARE_CALLED)}\n"


def current(readme: Path = README) -> str:
    """What is there."""
    return readme.read_text().partition(BEGIN)[2].partition(END)[0].removeprefix("\n")


def _part(title: str, rows: Iterable[Row]) -> str:
    lines = [f"| {title}, and see | code | what to change |", "|---|---|---|"]
    lines += [f"| {row.seen} | `{row.code}` | {_in_markdown(explain(row.code).fix)} |" for row in rows]
    return "\n".join(lines) + "\n"


def _in_markdown(text: str) -> str:
    """A placeholder would be taken for HTML."""
    return text.replace("<", "\\<").replace("[", "\\[").replace("|", "\\|") or "nothing"


if __name__ == "__main__":
    path = Path(sys.argv[1]) if sys.argv[1:] else README
    text = path.read_text()
    path.write_text(text.replace(f"{BEGIN}\n{current(path)}{END}", f"{BEGIN}\n{table()}{END}"))
