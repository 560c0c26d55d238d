"""minipacs explain: the catalogue for people and for machines, and the README's table, which is made from it."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from minipacs.diagnosis import CATALOGUE

from . import fakes
from .fakes import faking
from .peers.node import run_minipacs
from .readme_table import README, current, table

CALLING_AE_TITLE = """\
rejected.calling-ae-title
  seen:  A-ASSOCIATE-RJ 1/1/3
  means: <called AE title> does not know our AE title <calling AE title>, or not from this address (rejected <codes>)
  fix:   on <called AE title>: register AE title <calling AE title> at <our address> port <port of our SCP>; \
Orthanc: "DicomModalities": { "<name>": ["<calling AE title>", "<our address>", <port of our SCP>] } \
(with DicomCheckModalityHost, the numeric address that we call from; with StrictAetComparison, capitals count)
"""
EMPTY = """\
inbound.empty
  seen:  a connection that closes without a byte (told with -v)
  means: <address of the peer> connected and sent nothing
"""


def explain(folder: Path, *arguments: str) -> str:
    done = run_minipacs(folder, "explain", *arguments)
    assert (done.stderr, done.returncode) == ("", 0)
    return done.stdout


@pytest.mark.parametrize("text", [CALLING_AE_TITLE, EMPTY])
def test_a_code_is_what_was_seen_what_it_means_and_what_to_change(text: str, tmp_path: Path) -> None:
    assert explain(tmp_path, text.split("\n", maxsplit=1)[0]) == text


def test_a_kind_is_all_its_rows(tmp_path: Path) -> None:
    paragraphs = explain(tmp_path, "unreachable").split("\n\n")
    assert [paragraph.split("\n")[0] for paragraph in paragraphs] == [
        f"unreachable.{name}" for name in ("name", "refused", "timeout", "no-route", "other")
    ]


def test_without_a_code_all_are_listed_by_who_calls(tmp_path: Path) -> None:
    parts = explain(tmp_path).split("\n\n")
    we_call, we_are_called, _, _, round_trip, services = parts
    assert we_call.startswith("When we call\n  unreachable.name  ")
    assert we_are_called.startswith("When we are called\n  admission.calling-ae-title  ")
    assert round_trip.startswith("On a round trip\n  stranger.refused  ")
    assert services.startswith("When we store, find, move or get\n  service.sop-class  ")
    lines = [line.strip() for part in parts for line in part.splitlines()[1:]]
    assert [line.split(maxsplit=1) for line in lines] == [[row.code, row.seen] for row in CATALOGUE.values()]


def test_a_machine_reads_each_row_as_an_object(tmp_path: Path) -> None:
    rows = [json.loads(line) for line in explain(tmp_path, "--json").splitlines()]
    assert [row["code"] for row in rows] == list(CATALOGUE)
    assert {tuple(row) for row in rows} == {("code", "seen", "reason", "fix")}
    assert [json.loads(explain(tmp_path, "unreachable.refused", "--json"))] == [
        row for row in rows if row["code"] == "unreachable.refused"
    ]
    assert {row["code"] for row in rows if row["fix"] is None} == {
        code for code, row in CATALOGUE.items() if not row.fix
    }


@pytest.mark.parametrize(
    ("code", "line"),
    [
        ("rejected.limits", "minipacs: no row has the code rejected.limits; did you mean rejected.limit?"),
        ("reject", "minipacs: no row has the code reject; did you mean rejected?"),
        ("1/1/3", "minipacs: no row has the code 1/1/3; minipacs explain lists them all"),
        ("\x1b[2J", r"minipacs: no row has the code \x1b[2J; minipacs explain lists them all"),
    ],
)
def test_an_unknown_code_is_told_the_nearest(code: str, line: str, tmp_path: Path) -> None:
    done = run_minipacs(tmp_path, "explain", code)
    assert (done.stdout, done.stderr, done.returncode) == ("", f"{line}\n", 2)


def test_the_code_that_a_failed_echo_shows_can_be_explained(tmp_path: Path) -> None:
    with faking(fakes.rejects(1, 1, 3)) as fake:
        done = run_minipacs(tmp_path, "echo", str(fake.peer))
    first, fix = done.stdout.splitlines()
    assert first.endswith(" (rejected 1/1/3) [rejected.calling-ae-title]")
    assert fix.startswith("fix: on FAKE: register AE title MINIPACS at 127.0.0.1 port 11112; ")
    assert explain(tmp_path, first.rpartition("[")[2].rstrip("]")) == CALLING_AE_TITLE


# --- the table in the README ---------------------------------------------------------------------------------------


def test_the_table_of_the_readme_is_the_catalogue() -> None:
    assert current() == table(), "run `python -m tests.readme_table`, which writes it anew"


def test_the_table_is_written_by_the_command_that_is_told(tmp_path: Path) -> None:
    text = README.read_text()
    copy = tmp_path / "README.md"
    copy.write_text(text.replace(current(), "\nold\n"))
    subprocess.run([sys.executable, "-m", "tests.readme_table", str(copy)], cwd=README.parent, check=True, timeout=60)
    assert copy.read_text() == text


def test_every_row_is_in_the_table() -> None:
    for code, row in CATALOGUE.items():
        assert f"| {row.seen} | `{code}` |" in current()


def test_every_code_that_the_readme_names_is_a_row() -> None:
    kinds = "|".join({code.partition(".")[0] for code in CATALOGUE})
    named = set(re.findall(rf"[`\[]((?:{kinds})\.[a-z-]+)[`\]]", README.read_text()))
    assert named == set(CATALOGUE)
