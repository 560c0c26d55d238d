"""Each setting: its default, which the code and the shipped file agree on, and its rule."""

import tomllib
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

import pytest
from msgspec.structs import asdict

from minipacs import SettingsError
from minipacs.settings import TLS, Limits, Settings, Storage, StorageLimits, Timeouts, find_file, read_settings

from .test_toml_file import public_folder, without_privileges

SHIPPED = Path(__file__).parents[1] / "conf" / "minipacs.toml"

PRINTABLE = "must be printable ASCII (the default repertoire of PS3.5)"
HOST = "must be an IP address or a host name"
SECONDS = "must be more than 0 and at most 86400 seconds"

DEFAULTS = {
    "ae_title": "MINIPACS",
    "host": "127.0.0.1",
    "port": 11112,
    "peers": Path("conf/peers.toml"),
    "timeouts": Timeouts(request=5.0, pdu=10.0, idle=60.0, close=1.0, stop=1.0, handshake=5.0),
    "limits": Limits(
        associate_pdu=1_048_576,
        maximum_length=16_384,
        command_set=65_536,
        associations=100,
        connections=1_000,
        associations_per_peer=50,
    ),
    "tls": TLS(
        certificate=None,
        key=None,
        trusted=(),
        require_client_certificate=True,
        minimum_version="1.2",
        port=None,
        only=False,
    ),
    "allow_from": (),
    "storage": Storage(
        folder=None,
        any_sop_class=False,
        overwrite=False,
        limits=StorageLimits(free=1_073_741_824, object_size=4_294_967_296, objects=100_000, keep="all"),
    ),
}


def written(folder: Path, text: str) -> Path:
    path = folder / "minipacs.toml"
    path.write_text(text)
    return path


def test_the_defaults_are_these() -> None:
    assert {name: getattr(Settings(), name) for name in Settings.__struct_fields__} == DEFAULTS
    assert read_settings(None) == Settings()


def test_the_shipped_file_says_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(SHIPPED.parents[1])
    assert read_settings(Path("conf/minipacs.toml")) == Settings()


def test_the_shipped_file_says_every_setting() -> None:
    content = tomllib.loads(SHIPPED.read_text())
    settings = asdict(Settings())
    assert set(content["node"]) == set(settings) - {"timeouts", "limits", "tls", "allow_from", "storage"}
    assert set(content["timeouts"]) == set(Timeouts.__struct_fields__)
    assert set(content["limits"]) == set(Limits.__struct_fields__)
    assert set(content) == {"node", "timeouts", "limits"}


def test_an_empty_file_says_the_defaults(tmp_path: Path) -> None:
    settings = read_settings(written(tmp_path, ""))
    assert asdict(settings) == DEFAULTS | {"peers": tmp_path / "peers.toml"}


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ('node.ae_title = " TEST "', "TEST"),
        ('node.host = "::"', "::"),
        ("node.port = 0", 0),
        ("node.port = 65535", 65535),
        ("timeouts.request = 1", 1.0),
        ("timeouts.pdu = 0.5", 0.5),
        ("timeouts.idle = 86400", 86400.0),
        ("timeouts.close = 2.5", 2.5),
        ("timeouts.stop = 3", 3.0),
        ("timeouts.handshake = 0.1", 0.1),
        ("limits.associate_pdu = 1024", 1024),
        ("limits.maximum_length = 67108864", 67108864),
        ("limits.command_set = 2048", 2048),
        ("limits.associations = 1", 1),
        ("limits.connections = 100000", 100000),
        ("limits.associations_per_peer = 1", 1),
        ('node.allow_from = ["10.1.2.0/24", "::1"]', (IPv4Network("10.1.2.0/24"), IPv6Network("::1"))),
    ],
)
def test_each_setting_can_be_set_alone(line: str, value: object, tmp_path: Path) -> None:
    settings = read_settings(written(tmp_path, line))
    assert differences(settings, read_settings(written(tmp_path, ""))) == {line.partition(" = ")[0]: repr(value)}


def differences(settings: Settings, others: Settings) -> dict[str, str]:
    """What is not alike, by the name that it has in the file."""
    ours, theirs = flat(settings), flat(others)
    return {name: repr(value) for name, value in ours.items() if value != theirs[name]}


def flat(settings: Settings) -> dict[str, object]:
    sections = {"node": settings, "timeouts": settings.timeouts, "limits": settings.limits, "tls": settings.tls}
    return {f"{name}.{key}": value for name, section in sections.items() for key, value in asdict(section).items()} | {
        "node.timeouts": None,
        "node.limits": None,
        "node.tls": None,
    }


def test_storage_is_set_in_one_section(tmp_path: Path) -> None:
    lines = 'folder = "x"', "any_sop_class = true", "overwrite = true", "free = 0", "object_size = 1024", "objects = 1"
    settings = read_settings(written(tmp_path, "\n".join(["[storage]", *lines, 'keep = "newest"'])))
    assert settings.storage == Storage(tmp_path / "x", True, True, StorageLimits(0, 1024, 1, "newest"))


def test_the_shipped_file_tells_of_storage_what_the_defaults_are() -> None:
    section = SHIPPED.read_text().partition("# [storage]")[2].partition("\n")[2]
    content = tomllib.loads("\n".join(line.removeprefix("# ") for line in section.splitlines()))
    assert content.pop("folder") == "objects"
    assert content == {
        **{name: value for name, value in asdict(Storage()).items() if name not in {"folder", "limits"}},
        **asdict(StorageLimits()),
    }


@pytest.mark.parametrize(
    ("peers", "path"),
    [
        ("peers.toml", "{folder}/peers.toml"),
        ("sub/x.toml", "{folder}/sub/x.toml"),
        ("../x.toml", "{folder}/../x.toml"),
        ("/etc/minipacs/peers.toml", "/etc/minipacs/peers.toml"),
    ],
)
def test_the_peer_table_is_found_from_the_settings_file(peers: str, path: str, tmp_path: Path) -> None:
    settings = read_settings(written(tmp_path, f'[node]\npeers = "{peers}"'))
    assert settings.peers == Path(path.format(folder=tmp_path))


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("nod.port = 1", 'nod: must be a known key (nearest: node), not "nod"'),
        ("port = 104", 'port: must be one of node, timeouts, limits, storage, tls, not "port"'),
        ("node = 1", "node: must be a table, not 1"),
        ("node.prot = 104", 'node.prot: must be a known key (nearest: port), not "prot"'),
        ("node.x = 1", 'node.x: must be one of ae_title, host, port, peers, allow_from, not "x"'),
        ('node.ae_title = ""', 'node.ae_title: must not be empty, not ""'),
        ('node.ae_title = "RÖ"', rf'node.ae_title: {PRINTABLE}, not "R\xd6"'),
        ("node.ae_title = 1", "node.ae_title: must be text in quotes, not 1"),
        ('node.host = "a b"', f'node.host: {HOST}, not "a b"'),
        ('node.host = ""', f'node.host: {HOST}, not ""'),
        ("node.port = -1", "node.port: must be 0 to 65535, not -1"),
        ("node.port = 65536", "node.port: must be 0 to 65535, not 65536"),
        ("node.port = true", "node.port: must be 0 to 65535, not true"),
        ('node.peers = ""', 'node.peers: must be the path of a file, not ""'),
        (r'node.peers = "a\u0000b"', r'node.peers: must be the path of a file, not "a\x00b"'),
        ("node.peers = []", "node.peers: must be text in quotes, not []"),
        ("timeouts.idel = 1", 'timeouts.idel: must be a known key (nearest: idle), not "idel"'),
        ("timeouts.request = 0", f"timeouts.request: {SECONDS}, not 0"),
        ("timeouts.pdu = -1.5", f"timeouts.pdu: {SECONDS}, not -1.5"),
        ("timeouts.idle = nan", f"timeouts.idle: {SECONDS}, not nan"),
        ("timeouts.close = inf", f"timeouts.close: {SECONDS}, not inf"),
        ('timeouts.stop = "1"', f'timeouts.stop: {SECONDS}, not "1"'),
        (
            "limits.maximum_lenght = 1",
            'limits.maximum_lenght: must be a known key (nearest: maximum_length), not "maximum_lenght"',
        ),
        ("node.allow_from = []", "node.allow_from: must name an address or a network, or be left out for any, not []"),
        (
            'node.allow_from = ["10.1.2.3/24"]',
            "node.allow_from[0]: must be an IP address or a network without host bits, such as 10.1.2.0/24, not "
            '"10.1.2.3/24"',
        ),
        ("limits.associations_per_peer = 0", "limits.associations_per_peer: must be 1 to 100000, not 0"),
        ("limits.associate_pdu = 1023", "limits.associate_pdu: must be 1024 to 67108864, not 1023"),
        ("limits.maximum_length = 0", "limits.maximum_length: must be 1024 to 67108864, not 0"),
        ("limits.command_set = 1.5", "limits.command_set: must be 1024 to 67108864, not 1.5"),
        ("limits.associations = 0", "limits.associations: must be 1 to 100000, not 0"),
        ("limits.connections = 100001", "limits.connections: must be 1 to 100000, not 100001"),
    ],
)
def test_a_fault_of_a_setting_is_told(line: str, fault: str, tmp_path: Path) -> None:
    path = written(tmp_path, line)
    with pytest.raises(SettingsError) as raised:
        read_settings(path)
    assert raised.value.faults == (f"{path}: {fault}",)


def test_every_fault_is_told_at_once(tmp_path: Path) -> None:
    path = written(tmp_path, '[node]\nport = -1\nhost = ""\n[timeouts]\npdu = 0\n[limit]\n')
    with pytest.raises(SettingsError) as raised:
        read_settings(path)
    assert raised.value.faults == (
        f"{path}: node.port: must be 0 to 65535, not -1",
        f'{path}: node.host: {HOST}, not ""',
        f"{path}: timeouts.pdu: {SECONDS}, not 0",
        f'{path}: limit: must be a known key (nearest: limits), not "limit"',
    )


def test_a_settings_file_that_was_named_has_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match='must be readable, not "No such file or directory"'):
        read_settings(tmp_path / "minipacs.toml")


# --- which file ------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder; no settings anywhere."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MINIPACS_CONFIG", raising=False)
    return tmp_path


def ship(folder: Path) -> None:
    (folder / "conf").mkdir()
    (folder / "conf" / "minipacs.toml").touch()


def test_the_file_that_is_given_comes_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ship(folder)
    monkeypatch.setenv("MINIPACS_CONFIG", "environment.toml")
    assert find_file("given.toml") == Path("given.toml")


def test_then_the_one_of_the_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ship(folder)
    monkeypatch.setenv("MINIPACS_CONFIG", "environment.toml")
    assert find_file(None) == Path("environment.toml")


@pytest.mark.parametrize("value", [None, ""])
def test_then_the_one_of_the_working_folder(value: str | None, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ship(folder)
    if value is not None:
        monkeypatch.setenv("MINIPACS_CONFIG", value)
    assert find_file(None) == Path("conf/minipacs.toml")


def test_then_none(folder: Path) -> None:
    assert find_file(None) is None


def test_a_settings_file_that_we_may_not_look_at_is_not_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    with public_folder() as working:
        monkeypatch.chdir(working)
        monkeypatch.delenv("MINIPACS_CONFIG", raising=False)
        (working / "conf").mkdir(mode=0)
        with without_privileges():
            assert find_file(None) == Path("conf/minipacs.toml")
        monkeypatch.chdir("/")
