"""A TOML file is read whole or not at all, and every fault in it is told at once."""

import os
import resource
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import tomli
from hypothesis import given
from hypothesis import strategies as st

from minipacs.errors import FileError, PeerTableError
from minipacs.schema import Invalid, array, each, every, table
from minipacs.toml_file import SIZE_LIMIT, check_size, is_there, load, parse, read_bytes

from .peers.process import wait_until
from .wire.exchange import bounded

NOBODY = 65_534

REGULAR = "file: must be a regular file, not a folder or device"


def fault_of(path: Path) -> str:
    with pytest.raises(FileError) as raised:
        read_bytes(path, FileError)
    (fault,) = raised.value.faults
    prefix = f"{path}: "
    assert fault.startswith(prefix)
    return fault.removeprefix(prefix)


@contextmanager
def without_privileges() -> Iterator[None]:
    """Root may read anything; for a moment we are not root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@contextmanager
def public_folder() -> Iterator[Path]:
    """A folder that everybody may look into; those of pytest are its user's own."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Path(name)
        os.chmod(name, 0o755)


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


# --- reading ---------------------------------------------------------------------------------------------------------


def test_a_file_is_read_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"\xef\xbb\xbfa\r\nb\0")
    assert read_bytes(path, FileError) == b"\xef\xbb\xbfa\r\nb\0"


def test_a_file_that_grows_beyond_the_limit_while_it_is_read_is_cut_one_byte_over_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"#" * (SIZE_LIMIT + 100))
    monkeypatch.setattr("minipacs.toml_file.check_size", lambda *_: None)  # as if it had been small a moment ago
    assert len(read_bytes(path, FileError)) == SIZE_LIMIT + 1


def missing(folder: Path) -> Path:
    return folder / "x"


def below_a_file(folder: Path) -> Path:
    (folder / "file").touch()
    return folder / "file" / "x"


def link_to_itself(folder: Path) -> Path:
    (folder / "x").symlink_to("x")
    return folder / "x"


def link_to_nothing(folder: Path) -> Path:
    (folder / "x").symlink_to("nothing")
    return folder / "x"


def long_name(folder: Path) -> Path:
    return folder / ("x" * 300)


def a_folder(folder: Path) -> Path:
    return folder


def named_pipe(folder: Path) -> Path:
    os.mkfifo(folder / "x")
    return folder / "x"


def device(_: Path) -> Path:
    return Path("/dev/zero")


@pytest.mark.parametrize(
    ("make", "fault"),
    [
        (missing, 'file: must be readable, not "No such file or directory"'),
        (below_a_file, 'file: must be readable, not "Not a directory"'),
        (link_to_itself, 'file: must be readable, not "Too many levels of symbolic links"'),
        (link_to_nothing, 'file: must be readable, not "No such file or directory"'),
        (long_name, 'file: must be readable, not "File name too long"'),
        (a_folder, REGULAR),
        (named_pipe, REGULAR),
        (device, REGULAR),
    ],
)
def test_what_is_no_readable_file_is_a_fault(make: Callable[[Path], Path], fault: str, tmp_path: Path) -> None:
    assert fault_of(make(tmp_path)) == fault


def test_a_socket_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket has to be short
    with closing(socket.socket(socket.AF_UNIX)) as listening:
        listening.bind("x")
        assert fault_of(Path("x")) == "file: must be a regular file, not a folder or device"


def test_a_file_that_is_not_ours_is_a_fault() -> None:
    with public_folder() as folder:
        (folder / "x").touch(mode=0)
        with without_privileges():
            assert fault_of(folder / "x") == 'file: must be readable, not "Permission denied"'


def test_an_error_while_reading_is_a_fault(tmp_path: Path) -> None:
    assert fault_of(Path("/proc/self/mem")) == 'file: must be readable, not "Input/output error"'


@pytest.mark.parametrize("make", [missing, a_folder, named_pipe, device])
def test_a_fault_keeps_no_file_open(make: Callable[[Path], Path], tmp_path: Path) -> None:
    path = make(tmp_path)
    fault_of(path)
    before = open_descriptors()
    for _ in range(10):
        fault_of(path)
    assert open_descriptors() == before


def test_no_more_open_files_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        assert fault_of(tmp_path / "x") == 'file: must be readable, not "Too many open files"'
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_named_pipe_does_not_hold_us(tmp_path: Path) -> None:
    path = named_pipe(tmp_path)
    reading = threading.Thread(target=fault_of, args=[path], daemon=True)
    reading.start()
    wait_until(lambda: not reading.is_alive(), within=30, what="the end of reading a pipe without a writer")


def test_the_error_is_of_the_kind_that_was_asked_for(tmp_path: Path) -> None:
    with pytest.raises(PeerTableError):
        read_bytes(tmp_path, PeerTableError)


@pytest.mark.parametrize(
    ("make", "there"),
    [
        (missing, False),
        (below_a_file, False),
        (link_to_nothing, False),
        (link_to_itself, True),
        (long_name, True),
        (a_folder, True),
        (named_pipe, True),
    ],
)
def test_what_cannot_be_read_is_there_unless_it_is_missing(
    make: Callable[[Path], Path], there: bool, tmp_path: Path
) -> None:
    assert is_there(make(tmp_path)) == there


def test_a_file_that_we_may_not_look_at_is_there() -> None:
    with public_folder() as folder:
        folder.chmod(0)
        with without_privileges():
            assert is_there(folder / "x")


@pytest.mark.parametrize("size", [0, SIZE_LIMIT])
def test_a_size_up_to_the_limit_is_fine(size: int) -> None:
    check_size(size, "x", FileError)


# --- the schema ------------------------------------------------------------------------------------------------------


def number(value: object) -> int:
    if not isinstance(value, int):
        raise Invalid("must be a number")
    return value


def even(value: object) -> int:
    if number(value) % 2:
        raise Invalid("must be even")
    return number(value) * 10


def small(value: object) -> int:
    if number(value) > 9:
        raise Invalid("must be small")
    return number(value) * 100


SCHEMA = table(
    {
        "needed": number,
        "limits": table({"first": number, "second": number}),
        "numbers": array(number),
        "both": every(even, small),
        "peers": each(table({"port": number})),
    },
    required=["needed"],
)


def read(text: str) -> Any:
    return parse(text.encode(), "x.toml", SCHEMA, FileError)


def faults_in(text: str) -> list[str]:
    with pytest.raises(FileError) as raised:
        read(text)
    return [fault.removeprefix("x.toml: ") for fault in raised.value.faults]


def test_a_valid_text_becomes_what_the_rules_make_of_it() -> None:
    text = "needed = 1\nnumbers = [1, 2]\nboth = 4\n[limits]\nfirst = 1\n[peers.any]\nport = 1\n"
    assert read(text) == {
        "needed": 1,
        "numbers": (1, 2),
        "both": 400,
        "limits": {"first": 1},
        "peers": {"any": {"port": 1}},
    }


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("", ["needed: must be given, not left out"]),
        ('needed = "1"', ['needed: must be a number, not "1"']),
        ("needed = true\nboth = true", ["both: must be even, not true"]),
        ("needed = 1\nboth = 11", ["both: must be even, not 11", "both: must be small, not 11"]),
        ("needed = 1\nnumbers = 1", ["numbers: must be an array, not 1"]),
        ("needed = 1\nnumbers = {}", ["numbers: must be an array, not a table"]),
        (
            'needed = 1\nnumbers = [1, "2", 3, 4.0]',
            ['numbers[1]: must be a number, not "2"', "numbers[3]: must be a number, not 4.0"],
        ),
        ("needed = 1\nlimits = 1", ["limits: must be a table, not 1"]),
        ("needed = 1\n[[limits]]", ["limits: must be a table, not [{}]"]),
        ("needed = 1\nlimits.frist = 1", ['limits.frist: must be a known key (nearest: first), not "frist"']),
        ("needed = 1\nlimits.x = 1", ['limits.x: must be one of first, second, not "x"']),
        ("needed = 1\npeers.a.b = 1", ['peers.a.b: must be one of port, not "b"']),
        ("needed = 1\npeers.a.port.b = 1", ["peers.a.port: must be a number, not a table"]),
        (
            'nedeed = 1\nboth = 1\nnumbers = [""]\n[limits]\nfirst = ""\nx = ""\n[peers]\na = 1\n',
            [
                'nedeed: must be a known key (nearest: needed), not "nedeed"',
                "both: must be even, not 1",
                'numbers[0]: must be a number, not ""',
                'limits.first: must be a number, not ""',
                'limits.x: must be one of first, second, not "x"',
                "peers.a: must be a table, not 1",
                "needed: must be given, not left out",
            ],
        ),
    ],
)
def test_every_fault_is_told_with_its_key_its_rule_and_its_value(text: str, faults: list[str]) -> None:
    assert faults_in(text) == faults


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("true", "true"),
        ("false", "false"),
        ("-1.5", "-1.5"),
        ("inf", "inf"),
        ("2026-11-23T12:00:00Z", "2026-11-23 12:00:00+00:00"),
        (r'"\u001b[2J\n"', r'"\x1b[2J\n"'),
        ('"é"', r'"\xe9"'),
        ("'\"'", '"""'),
        (f'"{"x" * 60}"', f'"{"x" * 60}"'),
        (f'"{"x" * 61}"', f'"{"x" * 60}…"'),
        ("{ a = 1 }", "a table"),
        ("[1, 2]", "[1, 2]"),
        (f"[{'1, ' * 100}]", f"[{'1, ' * 19}1,…"),
    ],
)
def test_a_value_is_shown_on_one_line_and_cut(value: str, shown: str) -> None:
    assert faults_in(f"needed = 1\nlimits = {value}" if value != "{ a = 1 }" else f"needed = {value}") == [
        f"limits: must be a table, not {shown}" if value != "{ a = 1 }" else f"needed: must be a number, not {shown}"
    ]


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("needed", 1, 7),
        ("needed = 1\n\n  x y\n", 3, 5),
        ("needed = 1\r\n\r\n  x y\r\n", 3, 5),
        ("\ufeffx y", 1, 3),
        ("# \x85 \u2028 \u2029\nx y", 2, 3),
    ],
    ids=ascii,
)
def test_what_is_no_toml_is_told_with_line_and_column(text: str, line: int, column: int) -> None:
    (fault,) = faults_in(text)
    shown = "needed" if text == "needed" else "x y"
    assert fault.startswith(f"line {line}, column {column}: must be TOML (")
    assert fault.endswith(f'), not "{shown}"')


def test_a_control_character_in_a_text_that_is_no_toml_is_escaped() -> None:
    (fault,) = faults_in("x = '\x1b[2J'")
    assert fault.isprintable()
    assert fault.split(", not ")[1] == r'"x = ' + r"'\x1b[2J'" + '"'


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"x = '\xff'", "byte 5: must be UTF-8, not 0xFF"),
        (b"\xef\xbb\xbf\xe9", "byte 3: must be UTF-8, not 0xE9"),
        (b"# \xc3", "byte 2: must be UTF-8, not 0xC3"),
        (b"# \xed\xa0\x80", "byte 2: must be UTF-8, not 0xED"),
    ],
)
def test_what_is_no_utf_8_is_told_with_its_place(data: bytes, fault: str) -> None:
    with pytest.raises(FileError) as raised:
        parse(data, "x.toml", SCHEMA, FileError)
    assert raised.value.faults == (f"x.toml: {fault}",)


def test_what_breaks_a_rule_is_a_value_error_in_its_words() -> None:
    with pytest.raises(ValueError, match="must be even") as raised:
        every(even, small)(11)
    assert isinstance(raised.value, Invalid)
    assert [fault.rule for fault in raised.value.faults] == ["must be even", "must be small"]


# --- in pieces -------------------------------------------------------------------------------------------------------

PLAIN_LINES = ("[peers.a]", "[peers.b]", "[peers.c] # c", "[node.a]", "x = 1", 'y = "z"', "# [peers.a]", "", "z.u = 2")
OTHER_LINES = (
    *(
        "[peers]",
        "  [peers.a]",
        "\t[peers.d]",
        "[[peers.a]]",
        "[peers.a.b]",
        "[peers.'a']",
        'p = """',
        '"""',
        "p = '''",
    ),
    *("'''", "q = [", "[1]", "]", "peers.a.v = 1", "peers = {}", "a = {}", "x =", "[peers.a] x", "[", "é = 1"),
)


def outcome(read: Callable[[str], object], text: str) -> object:
    try:
        return read(text)
    except tomli.TOMLDecodeError as fault:
        return fault.msg, fault.lineno, fault.colno


@bounded
@given(
    st.one_of(
        st.lists(st.sampled_from(PLAIN_LINES), max_size=12),
        st.lists(st.sampled_from(PLAIN_LINES + OTHER_LINES), max_size=12),
    ),
    st.sampled_from(["\n", "\r\n"]),
    st.integers(0, 60),
)
def test_a_text_says_the_same_in_pieces(lines: list[str], end: str, piece: int) -> None:
    """And has the same fault at the same place."""
    text = "".join(line + end for line in lines)
    assert outcome(lambda text: load(text, piece), text) == outcome(tomli.loads, text)


def test_a_text_of_many_sections_is_read_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of which takes long: whoever waits for the interpreter is served between them."""
    longest = 0

    def loads(text: str) -> dict[str, Any]:
        nonlocal longest
        longest = max(longest, len(text))
        return original(text)

    original = tomli.loads
    monkeypatch.setattr(tomli, "loads", loads)
    text = "# peers\n\n" + "".join(f"[peers.p{i}]\nae_title = 'P{i}'\n\n" for i in range(5000))
    assert len(load(text)["peers"]) == 5000
    assert longest < len(text) / 3
