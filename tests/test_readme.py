"""The README, done as it says: its commands are run and their output compared, its Python is executed."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from minipacs import Outcome
from minipacs.verdict import Verdict

from .peers.node import environment
from .peers.orthanc import ORTHANC
from .peers.ports import free_port
from .peers.process import running, wait_until
from .peers.required import required

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
INSTALL = "python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/minipacs serve"


def blocks(language: str) -> list[str]:
    return [text for name, text in BLOCKS if name == language]


def section(title: str) -> str:
    """The text under that heading."""
    return README.split(f"## {title}\n")[1].split("\n## ")[0]


def normalised(text: str) -> str:
    """Without what differs from run to run: times, rates, sizes, processes, random titles, Orthanc's DCMTK, space."""
    text = re.sub(r"NOBODY[0-9A-F]{10}", "NOBODY", text)
    text = re.sub(r"OFFIS_DCMTK_\d+|1\.2\.276\.0\.7230010\.3\.0\.3\.[\d.]+", "DCMTK", text)
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "#", text)
    text = re.sub(r"(?<= )\d+ (d|h|min|s)( \d+ (h|min|s))?(?= ago| \()", "#", text)
    text = re.sub(r"\d+\.\d+ s \(\d+ a second, \d+\.\d MB/s\)|\d+(\.\d)? (bytes|kB)(?=, )", "#", text)
    return re.sub(r" *\d+\.\d+(?= ms|[,)}])|\d+\.\d+(?=ms;)|(?<=pid )\d+", " #", text).strip()


class Shell:
    """The reader's shell, in a folder with conf/ and samples/, on ports that are free here."""

    def __init__(self, folder: Path) -> None:
        for name in ("conf", "samples"):
            shutil.copytree(ROOT / name, folder / name)
        self.folder = folder
        self._ports = {port: str(free_port()) for port in ("11112", "4242", "8042")}
        for path in (folder / "conf").iterdir():
            path.write_text(self._to_ours(path.read_text()))
        ours = {"ORTHANC_DICOM_PORT": "4242", "ORTHANC_HTTP_PORT": "8042", "MINIPACS_PORT": "11112"}
        self.env = environment() | {name: self._ports[port] for name, port in ours.items()}
        self.env["MINIPACS_ORTHANC_URL"] = f"http://127.0.0.1:{self._ports['8042']}"
        self.env["ORTHANC_STORAGE"] = str(folder / "storage")
        self._started: dict[str, ExitStack] = {}
        self.env["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin"

    def run(self, command: str) -> str:
        """What the command writes to the terminal."""
        done = subprocess.run(
            ["bash", "-c", self._to_ours(command)],
            cwd=self.folder,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        if edit := re.match(r"minipacs peers (add|remove) (\w+)", command):
            # nobody types the next command as fast as this test
            change = f"peers: {'+' if edit[1] == 'add' else '-'}{edit[2]} "
            wait_until(lambda: self.log_lines()[-1].startswith(change), within=30, what=change)
        return self.to_theirs(done.stdout)

    def start(self, command: str) -> str:
        """Run it in the background, as the reader does by `&`: what it wrote until it was ready.

        The same program is stopped before, as the reader does by Ctrl-C: it has the port.
        """
        program = command.split(maxsplit=1)[0]
        self._stop(program)
        log = self.folder / f"{program}.log"
        ready = "listening on" if program == "minipacs" else "Orthanc has started"
        stack = self._started[program] = ExitStack()
        child = stack.enter_context(
            running(command.split(), log=log, ready=lambda child: ready in child.log, env=self.env, cwd=self.folder)
        )
        return self.to_theirs(child.log) if program == "minipacs" else ""

    def stop(self) -> None:
        """End all that runs."""
        for program in list(self._started):
            self._stop(program)

    def _stop(self, program: str) -> None:
        if stack := self._started.pop(program, None):
            stack.close()

    def log_lines(self) -> list[str]:
        """What the node has logged, line by line, without the times and levels."""
        return [line[32:] for line in self.log().splitlines()]

    def log(self) -> str:
        """What the node has logged."""
        return self.to_theirs((self.folder / "minipacs.log").read_text())

    def to_theirs(self, text: str) -> str:
        for theirs, ours in self._ports.items():
            text = text.replace(ours, theirs)
        return text.replace(str(self.folder), "/home/you")

    def _to_ours(self, text: str) -> str:
        for theirs, ours in self._ports.items():
            text = text.replace(theirs, ours)
        return text


def steps(block: str) -> Iterator[tuple[str, str]]:
    """The commands of a console block, each with the output that it shows."""
    for step in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, _, output = step.partition("\n")
        yield command, output


@required(ORTHANC, "/usr/bin/curl")
def test_the_commands_do_what_the_readme_shows(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    try:
        for language, block in BLOCKS:
            if language == "log":
                assert_logged(shell, block)
            elif language == "console":
                for command, output in steps(block):
                    is_started = command.endswith(" &")
                    written = shell.start(command.removesuffix(" &")) if is_started else shell.run(command)
                    assert normalised(written) == normalised(output), command
    finally:
        shell.stop()


def assert_logged(shell: Shell, block: str) -> None:
    """Each line of the block is in the node's log, behind its time."""
    for line in block.splitlines():
        expected = normalised(line)
        wait_until(partial(_is_in_log, shell, expected), within=30, what=expected)


def _is_in_log(shell: Shell, line: str) -> bool:
    return line in normalised(shell.log())


@pytest.mark.parametrize("code", blocks("python"), ids=lambda code: code.splitlines()[0])
def test_the_python_runs(code: str, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    if "pytest.fixture" in code:
        code = code.replace("...  #", "minipacs.echo(Peer('node', 'MINIPACS', '127.0.0.1', node.port), 'MY_APP')  #")
        (tmp_path / "test_app.py").write_text(f"import minipacs\n{code}")
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_app.py"]
    else:
        command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.timeout(300)
def test_the_run_command_starts_the_node_in_a_bare_clone(tmp_path: Path) -> None:
    assert INSTALL in README
    port = str(free_port())
    for name in ("minipacs", "conf"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, tmp_path)
    command = ["bash", "-c", f"{INSTALL.replace('python3', sys.executable, 1)} --port {port}"]
    log = tmp_path / "log"
    with running(
        command, log=log, ready=lambda child: "listening on" in child.log, env=environment(), cwd=tmp_path, within=240
    ) as child:
        last = child.log.splitlines()[-1]
    assert last == f"minipacs: MINIPACS listening on 127.0.0.1:{port}, 1 peer from conf/peers.toml"


def test_every_outcome_has_its_row() -> None:
    assert re.findall(r"^\| `([a-z-]+)` \|", section("The eight outcomes of an echo"), re.MULTILINE) == [
        outcome.value for outcome in Outcome
    ]


def test_every_verdict_has_its_row() -> None:
    table = section("Round trip").partition("| verdict |")[2]
    assert re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE) == [verdict.value for verdict in Verdict]


def test_the_table_shown_is_the_one_shipped() -> None:
    shipped = (ROOT / "conf" / "peers.toml").read_text()
    table = next(block for block in blocks("toml") if "[peers." in block)
    shown = [line.split("#")[0].strip() for line in table.splitlines()]
    assert shown == [line.split("#")[0].strip() for line in shipped.split("\n\n", 1)[1].splitlines()]
