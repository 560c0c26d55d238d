"""The REST client against a real Orthanc, bare and behind proxies, and against what is no Orthanc."""

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from minipacs.errors import OrthancError
from minipacs.orthanc import Modality, Orthanc
from minipacs.registration import Registration, Wanted
from minipacs.rest import Rest

from .certificates import Authority
from .peers import orthanc as real
from .peers.ports import free_port
from .peers.required import required
from .peers.web import OPENSSL, Behaviour, Request, answering, certificate, passing_on, web
from .storing import as_file, image

pytestmark = required(real.ORTHANC)

OUTSIDE = (
    "MINIPACS_ORTHANC_USERNAME MINIPACS_ORTHANC_PASSWORD REQUESTS_CA_BUNDLE CURL_CA_BUNDLE SSL_CERT_FILE http_proxy "
    "HTTP_PROXY https_proxy HTTPS_PROXY all_proxy ALL_PROXY no_proxy NO_PROXY"
)
REMOTE = "Orthanc answers so to other machines, too, unless RemoteAccessAllowed is true"
PORTS = "Orthanc's web port is 8042 unless changed, and 4242 its DICOM port; if the port speaks TLS, give https://"
RULE = "Orthanc's URL must be http://HOST:PORT or https://HOST:PORT, with a path if it has one"
BY_ENVIRONMENT = "MINIPACS_ORTHANC_USERNAME and MINIPACS_ORTHANC_PASSWORD"
UNKNOWN = '{"DicomAet":"X","DicomPort":4242,"Version":"1.0"}'


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of the machine's own."""
    for name in OUTSIDE.split():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[real.Orthanc]:
    with real.Orthanc(tmp_path_factory.mktemp("orthanc"), minipacs_port=11112) as orthanc:
        yield orthanc


class Guarded(real.Orthanc):
    """One that lets nobody in without a password, so that it cannot be asked whether it is ready."""

    def _is_ready(self, _: object) -> bool:
        return "Orthanc has started" in self.log


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[real.Orthanc]:
    users = {"AuthenticationEnabled": True, "RegisteredUsers": {"zoë": "pässword", "joe": "secret"}}
    with Guarded(tmp_path_factory.mktemp("guarded"), minipacs_port=11112, extra=users) as orthanc:
        yield orthanc


def fault(url: str, timeout: float = 10.0) -> str:
    """Why it cannot be asked, in full."""
    with pytest.raises(OrthancError) as raised:
        Orthanc(url, timeout).system()
    return str(raised.value)


# --- what an Orthanc says ---------------------------------------------------------------------------------------------


def test_it_says_who_it_is(orthanc: real.Orthanc) -> None:
    system = Orthanc(orthanc.url).system()
    assert (system.ae_title, system.port, system.name) == ("ORTHANC", orthanc.dicom_port, "Orthanc beside minipacs")
    assert system.version[0].isdigit()
    assert system.settings["HttpPort"] == orthanc.http_port


def test_it_says_whom_it_knows(orthanc: real.Orthanc) -> None:
    fields = {"AET": "CT1", "Host": "10.0.0.5", "Port": 104, "AllowEcho": False, "UseDicomTls": True, "Timeout": 7}
    assert orthanc.put("/modalities/ct_1", fields)[0] == 200
    try:
        modalities = Orthanc(orthanc.url).modalities()
    finally:
        orthanc.unregister("ct_1")
    ct1 = modalities["ct_1"]
    assert (str(ct1), ct1.uses_tls) == ("CT1@10.0.0.5:104", True)
    assert (ct1.services["AllowEcho"], ct1.services["AllowStore"]) == (False, True)
    assert fields.items() <= ct1.fields.items()
    assert str(modalities["minipacs"]) == "MINIPACS@127.0.0.1:11112"


def test_an_entry_in_the_array_form_is_read_and_can_be_put_back() -> None:
    with web(answering(200, b'{"a":["A","h",104],"b":["B","::1",1,"Generic"]}')) as old:
        modalities = Orthanc(old.url).modalities()
    assert modalities == {
        "a": Modality("A", "h", 104, fields={"AET": "A", "Host": "h", "Port": 104}),
        "b": Modality("B", "::1", 1, fields={"AET": "B", "Host": "::1", "Port": 1, "Manufacturer": "Generic"}),
    }


def test_a_modality_comes_and_goes(orthanc: real.Orthanc) -> None:
    client = Orthanc(orthanc.url)
    client.register("new", {"AET": "NEW", "Host": "h", "Port": 1})
    assert str(client.modalities()["new"]) == "NEW@h:1"
    assert client.unregister("new")
    assert not client.unregister("new")


def test_an_object_is_removed_by_its_uid_and_no_other_is(orthanc: real.Orthanc, tmp_path: Path) -> None:
    for uid in ("1.2.3", "1.2.3.4"):
        status, _ = orthanc.post("/instances", as_file(image(uid), tmp_path / uid).read_bytes())
        assert status == 200
    client = Orthanc(orthanc.url)
    assert client.remove_object("1.2.3") == 1
    assert client.remove_object("1.2.3") == 0
    assert client.remove_object("1.2.3.4") == 1
    assert orthanc.get("/instances") == (200, "[]")


def test_an_answer_that_lists_no_objects_is_told() -> None:
    with web(answering(200, b'{"a":1}')) as other, pytest.raises(OrthancError, match=r"/tools/find is not to be under"):
        Orthanc(other.url).remove_object("1.2.3")


def test_what_it_refuses_is_told_in_its_words(orthanc: real.Orthanc) -> None:
    with pytest.raises(OrthancError) as raised:
        Orthanc(orthanc.url).register("a b", {"AET": "A", "Host": "h", "Port": 1})
    rule = "Only alphanumeric, dash characters and underscores are allowed in the names of modalities/peers"
    assert str(raised.value) == f"{orthanc.url}/modalities/a%20b answers 400: {rule}, but found: a b"


def test_an_echo_that_fails_is_told_in_its_words(orthanc: real.Orthanc) -> None:
    client, port = Orthanc(orthanc.url), free_port()
    client.register("no", {"AET": "NO", "Host": "127.0.0.1", "Port": port})
    try:
        for said in (client.echo_stranger("NO", "127.0.0.1", port), client.echo("no")):
            what = r'DicomAssociation - connecting to AET "NO": TCP Initialization Error: Connection refused'
            assert said == what
    finally:
        client.unregister("no")


def test_an_echo_of_nobody_is_told(orthanc: real.Orthanc) -> None:
    with pytest.raises(OrthancError) as raised:
        Orthanc(orthanc.url).echo("nobody")
    what = "No modality with symbolic name: nobody"
    assert str(raised.value) == f"{orthanc.url}/modalities/nobody/echo answers 404: {what}"


def test_an_echo_that_succeeds_is_silence(orthanc: real.Orthanc) -> None:
    from minipacs import Peer, VerificationSCP

    with VerificationSCP([Peer("orthanc", "ORTHANC")], port=0) as node:
        assert Orthanc(orthanc.url).echo_stranger("MINIPACS", "127.0.0.1", node.port) == ""
        assert node.wait_for_associations(1)[-1].echoes == 1


# --- passwords --------------------------------------------------------------------------------------------------------


def test_without_a_password_it_says_how_to_give_one(guarded: real.Orthanc) -> None:
    how = f"set {BY_ENVIRONMENT}, or add an entry for 127.0.0.1 to a netrc file"
    assert fault(guarded.url) == f"{guarded.url} wants a user name and password (401): {how}; {REMOTE}"


@pytest.mark.parametrize(("name", "password"), [("joe", "secret"), ("zoë", "pässword")])
def test_a_password_comes_from_the_environment(
    name: str, password: str, guarded: real.Orthanc, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MINIPACS_ORTHANC_USERNAME", name)
    monkeypatch.setenv("MINIPACS_ORTHANC_PASSWORD", password)
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login joe password wrong\n")  # the environment comes first
    assert Orthanc(guarded.url).system().ae_title == "ORTHANC"


@pytest.mark.parametrize("entry", ["machine 127.0.0.1 login joe password secret", "default login joe password secret"])
def test_a_password_comes_from_netrc(entry: str, guarded: real.Orthanc, tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text(f"{entry}\n")
    assert Orthanc(guarded.url).system().ae_title == "ORTHANC"


def refused(guarded: real.Orthanc, source: str) -> str:
    what = f"does not take the user name and password of {source} (401)"
    return f"{guarded.url} {what}: compare them with RegisteredUsers in Orthanc; {REMOTE}"


def test_a_wrong_password_of_the_environment_is_told_and_not_shown(
    guarded: real.Orthanc, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINIPACS_ORTHANC_USERNAME", "joe")
    assert fault(guarded.url) == refused(guarded, BY_ENVIRONMENT)
    monkeypatch.setenv("MINIPACS_ORTHANC_PASSWORD", "mistyped")
    assert fault(guarded.url) == refused(guarded, BY_ENVIRONMENT)


def test_a_wrong_password_of_netrc_is_told_and_not_shown(guarded: real.Orthanc, tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login joe password mistyped\n")
    assert fault(guarded.url) == refused(guarded, "the netrc file")


def test_who_may_not_write_is_told_so(tmp_path: Path) -> None:
    script = tmp_path / "read-only.lua"
    script.write_text("function IncomingHttpRequestFilter(method) return method == 'GET' end\n")
    with real.Orthanc(tmp_path / "o", minipacs_port=11112, extra={"LuaScripts": [str(script)]}) as orthanc:
        client = Orthanc(orthanc.url)
        assert client.system().ae_title == "ORTHANC"
        with pytest.raises(OrthancError) as raised:
            client.register("new", {"AET": "NEW", "Host": "h", "Port": 1})
    what = "is forbidden (403): the user may not do that"
    assert str(raised.value) == f"{orthanc.url}/modalities/new {what}; {REMOTE}"


def test_an_orthanc_that_takes_us_for_another_machine_says_how_to_let_it_in(orthanc: real.Orthanc) -> None:
    with web(passing_on(orthanc.http_port, source="127.0.0.2")) as far:
        assert fault(far.url).endswith(REMOTE)


# --- proxies, prefixes, redirections ----------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["", "/", "//"])
def test_it_may_be_behind_a_path(end: str, orthanc: real.Orthanc) -> None:
    with web(passing_on(orthanc.http_port, "/pacs/orthanc")) as proxy:
        client = Orthanc(f"{proxy.url}/pacs/orthanc{end}")
        assert client.url == f"{proxy.url}/pacs/orthanc"
        assert client.system().port == orthanc.dicom_port
        client.register("new", {"AET": "NEW", "Host": "h", "Port": 1})
        assert client.unregister("new")


def test_without_its_path_it_is_no_orthanc(orthanc: real.Orthanc) -> None:
    with web(passing_on(orthanc.http_port, "/orthanc")) as proxy:
        what = "is no Orthanc, for it has no /system: check the port, and the path"
        assert fault(proxy.url) == f"{proxy.url} {what}"


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("https://pacs.example/orthanc/system", "sends us on to another URL: give https://pacs.example/orthanc"),
        ("/orthanc/system", "sends us on to another URL: give {url}/orthanc"),
        ("/login?for=/", "sends us on to {url}/login?for=/: give the URL of Orthanc itself, behind any login page"),
        (
            "http://h/\x1b[2J",
            r"sends us on to http://h/\x1b[2J: give the URL of Orthanc itself, behind any login page",
        ),
        ("http://[", "sends us on to http://[: give the URL of Orthanc itself, behind any login page"),
        ("//[x/system", "sends us on to another URL: give //[x"),
    ],
)
def test_a_redirection_is_told_and_not_followed(location: str, said: str) -> None:
    with web(answering(301, Location=location)) as other:
        assert fault(other.url) == f"{other.url} {said.format(url=other.url)}"
        assert other.seen == ["GET /system"]


def test_the_proxy_of_the_environment_is_used(orthanc: real.Orthanc, monkeypatch: pytest.MonkeyPatch) -> None:
    with web(passing_on(orthanc.http_port)) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        assert Orthanc("http://orthanc.invalid:8042").system().port == orthanc.dicom_port
        assert proxy.seen == ["GET http://orthanc.invalid:8042/system"]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_it_is_never_used_for_ourselves(host: str, orthanc: real.Orthanc, monkeypatch: pytest.MonkeyPatch) -> None:
    with web(answering(502)) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        assert Orthanc(f"http://{host}:{orthanc.http_port}").system().port == orthanc.dicom_port
        assert proxy.seen == []


def test_whoever_is_stopped_by_a_proxy_is_told_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    hint = "the environment names a proxy for it: NO_PROXY excludes a host"
    with web(answering(502, b"no such host")) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url.replace("//", "//joe:secret@"))
        url = "http://orthanc.invalid:8042"
        assert fault(url) == f"{url}/system answers 502: no such host; {hint}"
    assert fault(url) == f"{url} cannot be reached: the proxy fails: Connection refused; {hint}"


@pytest.mark.parametrize("proxy", ["http://joe:pa#ss@proxy:3128", "http://joe:pa/ss@proxy:3128", "joe:pass@proxy:1"])
def test_a_proxy_without_a_valid_url_is_told_and_its_password_is_not(
    proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", proxy)
    hint = "the environment names a proxy for it: NO_PROXY excludes a host"
    url = "http://orthanc.invalid:8042"
    assert fault(url) == f"{url} cannot be reached: the proxy has no valid URL; {hint}"


# --- TLS: before the real Orthanc stands a real server that ends it, as is usual -------------------------------------


@required(OPENSSL)
@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
def test_a_private_ca_is_named_in_the_environment(
    variable: str, orthanc: real.Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pem = certificate(tmp_path, "IP:127.0.0.1")
    how = "name the file with the certificate of the CA that signed it in REQUESTS_CA_BUNDLE or SSL_CERT_FILE"
    with web(passing_on(orthanc.http_port), tls=pem) as proxy:
        untrusted = f"{proxy.url}: its certificate is not trusted: self-signed certificate; {how}"
        assert fault(proxy.url) == untrusted
        other = certificate(tmp_path, "IP:127.0.0.1", name="other").with_suffix(".crt")
        monkeypatch.setenv(variable, str(other))
        assert fault(proxy.url) == f"{untrusted} (now {variable} is {other})"
        monkeypatch.setenv(variable, str(pem.with_suffix(".crt")))
        assert Orthanc(proxy.url).system().port == orthanc.dicom_port


@required(OPENSSL)
def test_a_certificate_of_another_host_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pem = certificate(tmp_path, "DNS:pacs.example")
    monkeypatch.setenv("SSL_CERT_FILE", str(pem.with_suffix(".crt")))
    with web(answering(200, UNKNOWN.encode()), tls=pem) as other:
        why = "IP address mismatch, certificate is not valid for '127.0.0.1'"
        how = "give the URL with a name that the certificate has"
        assert fault(other.url) == f"{other.url}: its certificate is not trusted: {why}; {how}"


def test_a_certificate_that_has_expired_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority(tmp_path)
    expired = authority.issue_expired()
    pem = tmp_path / "both.pem"
    pem.write_text(expired.key.read_text() + expired.certificate.read_text())
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
    with web(answering(200, UNKNOWN.encode()), tls=pem) as other:
        how = "renew it, and check the clock of this machine"
        assert fault(other.url) == f"{other.url}: its certificate is not trusted: certificate has expired; {how}"


def test_certificates_that_are_not_there_are_told(monkeypatch: pytest.MonkeyPatch, orthanc: real.Orthanc) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/no/such.pem")
    said = "SSL_CERT_FILE has to name the certificates to trust: /no/such.pem is not there"
    assert fault("https://127.0.0.1:8443") == said
    assert Orthanc(orthanc.url).system().ae_title == "ORTHANC"  # it needs none


@required(OPENSSL)
def test_a_file_without_certificates_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pem = certificate(tmp_path, "IP:127.0.0.1")
    monkeypatch.setenv("SSL_CERT_FILE", str(pem.with_suffix(".key")))
    with web(answering(200, UNKNOWN.encode()), tls=pem) as other:
        why = f"NO_CERTIFICATE_OR_CRL_FOUND (now SSL_CERT_FILE is {pem.with_suffix('.key')})"
        assert fault(other.url) == f"{other.url}: TLS fails: {why}"


def test_a_port_without_tls_is_told(orthanc: real.Orthanc) -> None:
    url = f"https://127.0.0.1:{orthanc.http_port}"
    assert fault(url) == f"{url}: the port does not speak TLS: give http://, if that is the port of Orthanc"


# --- no Orthanc -------------------------------------------------------------------------------------------------------


def test_a_port_where_nothing_listens_is_told() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    assert fault(url) == f"{url} cannot be reached: Connection refused: check host and port, and that Orthanc runs"


def test_a_name_that_does_not_resolve_is_told() -> None:
    said = fault("http://no.such.invalid:8042")
    assert said.startswith("http://no.such.invalid:8042 cannot be reached: no.such.invalid does not resolve: ")


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_dicom_port_is_told(scheme: str, orthanc: real.Orthanc) -> None:
    url = f"{scheme}://127.0.0.1:{orthanc.dicom_port}"
    assert fault(url) in {
        f"{url} does not answer in HTTP: {how}: {PORTS}"
        for how in ("Connection reset by peer", "Remote end closed connection without response")
    }


@required(OPENSSL)
def test_plain_http_on_a_tls_port_is_told(tmp_path: Path) -> None:
    with web(answering(200, UNKNOWN.encode()), tls=certificate(tmp_path, "IP:127.0.0.1")) as other:
        url = other.url.replace("https", "http")
        said = fault(url)
    assert said.startswith(f"{url} does not answer in HTTP: ")
    assert said.endswith(f": {PORTS}")


def test_silence_is_told_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        said = "does not answer within 0.2 s: check host and port, and the firewalls between"
        assert fault(url, timeout=0.2) == f"{url} {said}"


def trickling(request: Request) -> None:
    """A byte now and then: no single read takes long."""
    request.send_response(200)
    request.send_header("Content-Length", "1000000")
    request.end_headers()
    while not request.is_over(0.02):
        request.wfile.write(b" ")


def endless(request: Request) -> None:
    request.send_response(200)
    request.end_headers()
    request.close_connection = True
    while not request.is_over(0):
        request.wfile.write(bytes(1 << 16))


def endless_redirection(request: Request) -> None:
    request.send_response(302)
    request.send_header("Location", "/login")
    request.end_headers()
    request.close_connection = True
    while not request.is_over(0):
        request.wfile.write(bytes(1 << 16))


def falling_silent(request: Request) -> None:
    request.send_response(200)
    request.send_header("Content-Length", "2")
    request.end_headers()
    request.is_over(60)


def test_an_answer_that_trickles_is_given_up() -> None:
    with web(trickling) as other:
        said = "does not answer within 0.5 s: check host and port, and the firewalls between"
        assert fault(other.url, timeout=0.5) == f"{other.url} {said}"


def test_silence_in_the_middle_of_an_answer_is_told_whichever_deadline_is_first() -> None:
    with web(falling_silent) as other, pytest.raises(OrthancError) as raised:
        Rest(other.url)._exchange("GET", "/system", None, 0.2)
    said = "does not answer within 0.2 s: check host and port, and the firewalls between"
    assert str(raised.value) == f"{other.url} {said}"


@pytest.mark.parametrize("behave", [endless, endless_redirection])
def test_an_answer_without_end_is_given_up(behave: Behaviour) -> None:
    with web(behave) as other:
        assert fault(other.url, 60) == f"{other.url}/system answers more than 1 MiB: is that an Orthanc?"


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (404, b"", " is no Orthanc, for it has no /system: check the port, and the path"),
        (200, b"", " is no Orthanc: its /system says nothing"),
        (200, b"<html>\x1b[2J", r" is no Orthanc: its /system says <html>\x1b[2J"),
        (200, b"\xff\xfe", r" is no Orthanc: its /system says \ufffd\ufffd"),
        (200, b"[1]", " is no Orthanc: its /system says [1]"),
        (200, b'{"DicomAet": "A"}', " is no Orthanc: its /system says {'DicomAet': 'A'}"),
        (
            200,
            b'{"DicomAet":1,"DicomPort":1,"Version":"1"}',
            " is no Orthanc: its /system says {'DicomAet': 1, 'DicomPort': 1, 'Version': '1'}",
        ),
        (200, b"[" * 100_000, f" is no Orthanc: its /system says {'[' * 200}"),
        (503, b"<b>back soon</b>\r\n", "/system answers 503: <b>back soon</b>"),
        (500, b'{"Details": "\\u001b[2J"}', r"/system answers 500: \x1b[2J"),
        (500, b'{"Message": "no"}', "/system answers 500: no"),
        (500, b'["no"]', '/system answers 500: ["no"]'),
        (500, b"", "/system answers 500: nothing"),
    ],
)
def test_what_is_no_orthanc_is_told(status: int, body: bytes, said: str) -> None:
    with web(answering(status, body)) as other:
        assert fault(other.url) == other.url + said


@pytest.mark.parametrize(
    "body",
    [b'{"a": 1}', b'{"a": ["A"]}', b'{"a": {"AET": "A", "Host": "h"}}', b'{"a": {"AET":"A","Host":"h","Port":"x"}}'],
)
def test_modalities_that_make_no_sense_are_told(body: bytes) -> None:
    with web(answering(200, body)) as other, pytest.raises(OrthancError) as raised:
        Orthanc(other.url).modalities()
    assert str(raised.value).startswith(f'{other.url}/modalities?expand is not to be understood: {{"a": ')


@pytest.mark.parametrize("name", ["", "a b", "$(reboot)", "\\u001b[2J"])
def test_a_name_that_orthanc_itself_would_refuse_is_not_taken(name: str) -> None:
    body = f'{{"{name}": {{"AET": "A", "Host": "h", "Port": 1}}}}'
    with web(answering(200, body.encode())) as other, pytest.raises(OrthancError) as raised:
        Orthanc(other.url).modalities()
    assert "/modalities?expand is not to be understood: " in str(raised.value)
    assert str(raised.value).isprintable()


def test_what_it_knows_is_escaped_where_it_is_shown() -> None:
    assert str(Modality("\x1b[2J", "h\n", 1)) == r"\x1b[2J@h\n:1"


# --- the URL ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "not empty"),
        ("127.0.0.1:8042", "not 127.0.0.1:8042; did you mean http://127.0.0.1:8042?"),
        ("localhost:8042", "not localhost:8042; did you mean http://localhost:8042?"),
        ("pacs/orthanc/", "not pacs/orthanc/; did you mean http://pacs/orthanc?"),
        ("ftp://pacs", "not ftp://pacs"),
        ("http://", "not http://"),
        ("http://h:0", "not http://h:0"),
        ("http://h:65536", "not http://h:65536"),
        ("http://a b", "not http://a b"),
        ("http://a..b", "not http://a..b"),
        ("http://h\x1b[2J", r"not http://h\x1b[2J"),
        ("http://[::1", "not http://[::1"),
        ("http://h/?a=b", "not http://h/?a=b; did you mean http://h?"),
        (
            "http://h:8042/app/explorer.html#query-retrieve",
            "not http://h:8042/app/explorer.html#query-retrieve; did you mean http://h:8042?",
        ),
        ("https://h/orthanc/ui/app/", "not https://h/orthanc/ui/app/; did you mean https://h/orthanc?"),
    ],
)
def test_a_url_that_is_none_is_told_with_what_was_meant(url: str, said: str) -> None:
    assert fault(url) == f"{RULE}, {said}"


@pytest.mark.parametrize("url", ["http://joe:secret@h", "http://joe:secret@h:99999", "joe:secret@h:8042"])
def test_a_password_in_the_url_is_refused_and_not_shown(url: str) -> None:
    assert fault(url) == f"{RULE}, without user name and password: set {BY_ENVIRONMENT}, or use netrc"


def test_spaces_around_a_url_do_no_harm(orthanc: real.Orthanc) -> None:
    assert Orthanc(f" {orthanc.url}/ \n").system().port == orthanc.dicom_port


# --- the way to it ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_the_address_that_it_sees_is_that_of_the_way_to_it(host: str) -> None:
    orthanc = Orthanc(f"http://{host}:8042")
    assert (orthanc.local_address(), orthanc.is_here()) == ("127.0.0.1", True)


def has_a_way_out() -> bool:
    with socket.socket(type=socket.SOCK_DGRAM) as probe:
        return probe.connect_ex(("198.51.100.1", 9)) == 0


@pytest.mark.skipif(not has_a_way_out(), reason="no network")
def test_an_address_that_is_not_ours_is_another_machine() -> None:
    assert not Orthanc("http://198.51.100.1:8042").is_here()


def test_no_way_to_a_name_that_does_not_resolve() -> None:
    with pytest.raises(OrthancError) as raised:
        Orthanc("http://no.such.invalid:8042").local_address()
    assert str(raised.value).startswith(
        "http://no.such.invalid:8042 cannot be reached: no.such.invalid does not resolve"
    )


# --- interrupted ------------------------------------------------------------------------------------------------------


def test_what_takes_a_change_back_does_not_overtake_it() -> None:
    known: dict[str, bytes] = {}
    done: list[str] = []

    def slow(request: Request) -> None:
        """We are interrupted as soon as our PUT arrives, and it is carried out only a while later."""
        body = request.body()
        if request.command == "PUT":
            os.kill(os.getpid(), signal.SIGINT)
            request.is_over(0.5)
            known["minipacs"] = body
        elif request.command == "DELETE":
            known.clear()
        if request.command != "GET":
            done.append(request.command)
        request.answer(200, b"{%s}" % b",".join(b'"%s":%s' % (name.encode(), text) for name, text in known.items()))

    with web(slow) as other:
        registration = Registration(Orthanc(other.url), Wanted("minipacs", "MINIPACS", "127.0.0.1", 11112))
        before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where tests run in the background
        try:
            with pytest.raises(KeyboardInterrupt):
                registration.put()
        finally:
            signal.signal(signal.SIGINT, before)
        assert registration.has_put
        assert registration.take_away()
    assert (known, done) == ({}, ["PUT", "DELETE"])
