"""The fuzzers, kept short: that they find nothing, and that they would."""

import os
import random
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minipacs.wire.pdu import PDU_CLASSES
from minipacs.wire.state_table import State
from tests.fuzz import campaign, corpus, live_run
from tests.fuzz.mutation import fitted, mutated, split
from tests.fuzz.targets import TARGETS
from tests.wire.exchange import REQUEST, End, bounded, scp
from tests.wire.test_any_bytes import STREAMS, wilful

HAS_ATHERIS = find_spec("atheris") is not None
if not HAS_ATHERIS and os.environ.get("MINIPACS_REQUIRE_PEERS") == "1":
    raise RuntimeError("atheris: missing, and MINIPACS_REQUIRE_PEERS=1")
with_atheris = pytest.mark.skipif(not HAS_ATHERIS, reason="atheris missing")


@with_atheris
@pytest.mark.parametrize("target", TARGETS)
def test_fuzzing_finds_nothing(target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["1500", "--target", target, "--seeds", "400", "--seconds", "50", "--finds", str(tmp_path)]
    assert campaign.main(arguments) == 0, capsys.readouterr().out
    name, inputs, *_ = capsys.readouterr().out.split()
    assert name == f"{target}:"
    assert int(inputs) >= 400


@with_atheris
def test_fuzzing_finds_a_fault_that_was_planted_and_says_how_to_reproduce_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FUZZ_CHECK", "tests.fuzz.planted:check")
    arguments = ["300000", "--target", "peers", "--seed", "1", "--seconds", "50", "--finds", str(tmp_path)]
    assert campaign.main(arguments) == 1
    output = capsys.readouterr().out
    assert "the fault that was planted" in output
    assert "found something in: peers" in output
    [command] = [line.removeprefix("to reproduce: ") for line in output.splitlines() if "to reproduce" in line]
    [find] = (tmp_path / "peers").iterdir()
    assert str(find) in command
    again = subprocess.run(shlex.split(command), capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path)
    assert again.returncode != 0
    assert "the fault that was planted" in again.stdout + again.stderr


@pytest.mark.parametrize("options", [["3000"], ["1000", "-v"]], ids=["plain", "shown"])
def test_a_running_node_survives_mutated_exchanges(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert live_run.main([*options, "--seconds", "80"]) == 0, capsys.readouterr().err
    assert f"nothing found in {options[0]} exchanges" in capsys.readouterr().out


def test_a_node_that_does_not_keep_its_deadlines_is_found(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_run, "_SETTINGS", "[timeouts]\nidle = 3600\n[limits]\nassociations = 1000\n")
    monkeypatch.setattr(live_run, "DEADLINE", 0.05)
    monkeypatch.setattr(live_run, "SLACK", 3.0)
    assert live_run.main(["1000", "--seed", "1"]) == 1
    assert "found, with seed 1: TimeoutError() within" in capsys.readouterr().err


@pytest.mark.parametrize("script", ["run", "live"])
def test_each_says_how_it_is_used(script: str) -> None:
    command = [str(corpus.ROOT / "tests" / "fuzz" / script), "--help"]
    env = os.environ | {"PYTHON": sys.executable}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert f"usage: tests/fuzz/{script}" in done.stdout


# --- what they begin with ------------------------------------------------------------------------------------------


def test_the_corpus_has_every_pdu_and_what_is_none() -> None:
    streams = corpus.streams()
    assert len(set(streams)) == len(streams) > 3_000
    assert {stream[0] for stream in streams} > set(PDU_CLASSES)
    assert max(map(len, streams)) <= corpus.LONGEST


def test_the_corpus_leads_an_acceptor_into_every_state_that_a_peer_can_lead_it_into() -> None:
    reached: set[State] = set()
    for stream in corpus.streams():
        end = End(wilful)
        end.take(stream)
        reached.update(end.states)
    assert reached >= {State.Sta1, State.Sta2, State.Sta3, State.Sta6, State.Sta7, State.Sta8, State.Sta13}


def test_a_corpus_is_written_as_it_is_read(tmp_path: Path) -> None:
    corpus.write_file(tmp_path / "corpus.txt", [b"\x05", b"", b"\x01\xff", b"\x05"])
    assert corpus.read_file(tmp_path / "corpus.txt") == [b"", b"\x01\xff", b"\x05"]


@bounded
@given(st.binary(max_size=60))
def test_pdus_that_are_split_are_the_stream(stream: bytes) -> None:
    assert b"".join(split(stream)) == stream


def test_a_stream_is_split_where_its_pdus_end() -> None:
    for stream in STREAMS.values():
        assert len(split(stream)) > 5
        assert [fitted(pdu) for pdu in split(stream)] == split(stream)


def test_what_is_mutated_is_mutated_alike_and_is_often_another_thing() -> None:
    stream = STREAMS["acceptor that releases"]
    made = [mutated(stream, [REQUEST.encode()], random.Random(seed)) for seed in range(1_000)]
    assert made == [mutated(stream, [REQUEST.encode()], random.Random(seed)) for seed in range(1_000)]
    assert len(set(made)) > 700
    ends = [End(scp) for _ in made]
    for end, data in zip(ends, made, strict=True):
        end.take(data)
    assert len({tuple(end.states) for end in ends}) > 5
