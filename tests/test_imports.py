"""Who imports whom: the architecture is this graph, and a new arrow in it is a decision."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TypeAlias

import pytest

import minipacs

PACKAGE = Path(minipacs.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

# Module → the modules of the package that it imports, at run time or for its types alone.
ARROWS = {
    "accepting": "descriptors",
    "addresses": "bounded",
    "admission": "addresses certificate peers wire.associate",
    "admission_words": "admission ae_title certificate diagnosis escape rules settings wire.associate",
    "ae_title": "escape",
    "alarm": "",
    "answering": (
        "association_record diagnosis ending errors handover listening relay wire.associate wire.association "
        "wire.dimse wire.indications wire.messages wire.pdu wire.state_table wire.verification"
    ),
    "association_log": "association_record diagnosis flood_log shortfall",
    "association_record": "",
    "authority": "",
    "bounded": "",
    "call": (
        "call_words diagnosis echo_callbacks echo_result errors peers reach recognition requestor tls_recognition "
        "wire.associate wire.dimse wire.indications wire.messages wire.pdu wire.state_table wire.verification"
    ),
    "call_words": "diagnosis escape peers recognition",
    "catalogue": "",
    "catalogue.round_trip": "catalogue",
    "catalogue.services": "catalogue",
    "catalogue.tls": "catalogue",
    "catalogue.we_are_called": "catalogue",
    "catalogue.we_call": "catalogue",
    "certificate": "escape",
    "cli": "__init__ cli.decoders cli.formats cli.interrupt errors process",
    "cli.calls": "cli.options cli.targets diagnosis rules services.caller settings",
    "cli.decoders": "",
    "cli.echo": (
        "cli cli.formats cli.options cli.progress cli.targets echo_callbacks echo_result leg_report peers report "
        "rules scu settings side_by_side tracing.transcript wire.framing wire.verification"
    ),
    "cli.explain": "catalogue cli cli.options diagnosis escape",
    "cli.find": (
        "cli cli.calls cli.interrupt cli.progress services.caller services.find_report services.find_scu "
        "services.keys services.sop_classes settings"
    ),
    "cli.formats": "",
    "cli.get": "cli.calls cli.retrieving services.caller services.retrieve_scu settings",
    "cli.in_force": "cli control_client control_place errors",
    "cli.init": "cli.in_force cli.options new_files",
    "cli.interrupt": "",
    "cli.move": "cli.calls cli.options cli.retrieving rules services.caller services.retrieve_scu settings",
    "cli.options": "cli escape peers rules schema settings",
    "cli.orthanc": (
        "cli cli.in_force cli.options cli.orthanc_options errors escape orthanc orthanc_peers orthanc_report "
        "peer_file peers registered_leg registration settings"
    ),
    "cli.orthanc_options": "cli.options errors orthanc rules",
    "cli.peers": "cli cli.in_force cli.options peer_file peers report rules settings",
    "cli.progress": "",
    "cli.retrieving": (
        "cli cli.calls cli.interrupt cli.progress services.keys services.retrieve_report services.retrieve_scu "
        "services.sop_classes"
    ),
    "cli.roundtrip": (
        "cli cli.formats cli.interrupt cli.options cli.orthanc_options cli.progress cli.targets errors leg "
        "leg_report roundtrip settings"
    ),
    "cli.serve": (
        "__init__ certificate cli.options connection control_server descriptors flood_log listener listening "
        "live_tls log node_status peers process reload rules services.node_services settings timestamp toml_file "
        "tracing.log"
    ),
    "cli.status": "cli cli.options control_client errors node_status settings status_report",
    "cli.storage": (
        "cli cli.options cli.progress cli.storage_show escape names report services.index services.index_file "
        "services.listing services.matching services.shown services.storage_folder services.tables settings"
    ),
    "cli.storage_show": (
        "cli cli.options escape services.header services.header_table services.picture services.picture_file"
    ),
    "cli.store": (
        "cli cli.calls cli.progress services.caller services.image_files services.store_report services.store_scu "
        "settings"
    ),
    "cli.targets": "cli.options peers settings tls toml_file",
    "cli.tls": "cli.in_force cli.targets escape peers rules schema settings tls_guide trial_certificates",
    "connection": (
        "admission alarm answering association_record diagnosis ending handover listening relay tcp "
        "wire.associate wire.association wire.state_table"
    ),
    "control_client": "association_record control_place errors node_status",
    "control_place": "errors",
    "control_server": "accepting association_record control_place control_socket errors node_status",
    "control_socket": "control_place errors",
    "crowd": "settings",
    "descriptors": "diagnosis",
    "diagnosis": (
        "catalogue catalogue.round_trip catalogue.services catalogue.tls catalogue.we_are_called catalogue.we_call"
    ),
    "echo_callbacks": "wire.associate wire.association",
    "echo_result": "peers",
    "ending": (
        "admission association_record diagnosis escape handover recognition wire.associate wire.indications wire.pdu"
    ),
    "errors": "",
    "escape": "",
    "file_watch": "",
    "flood": "",
    "flood_log": "flood",
    "handover": "peers wire.associate wire.items",
    "image_legs": (
        "association_record bounded diagnosis escape image_remains inbound inbound_leg leg names orthanc "
        "outbound_legs services.caller services.find_scu services.keys services.object_files "
        "services.retrieve_scu services.sample_image services.sop_classes services.store_scu verdict"
    ),
    "image_remains": "bounded diagnosis errors inbound leg orthanc services.sample_image verdict",
    "inbound": "association_record control_client errors peers reload scp services.node_services settings tls",
    "inbound_leg": "association_record bounded diagnosis errors inbound leg orthanc peers registration scu verdict",
    "key_privacy": "errors",
    "leg": "diagnosis",
    "leg_report": "echo_result leg report roundtrip",
    "listener": (
        "accepting addresses admission admission_words association_log association_record connection crowd "
        "descriptors diagnosis errors handover listening node_status peers ports settings shortfall tally tls "
        "tls_connection turns wire.associate"
    ),
    "listening": "admission association_record diagnosis handover settings wire.associate wire.association",
    "live_files": "control_place errors file_watch writers",
    "live_tls": "certificate errors live_files node_status settings timestamp tls",
    "log": "escape flood_log outlet timestamp",
    "names": "escape wire.associate wire.pdu",
    "new_files": "",
    "node_status": "association_record peers rules",
    "orthanc": "bounded errors escape rest",
    "orthanc_peers": "addresses diagnosis orthanc peers registration rules",
    "orthanc_report": "diagnosis escape orthanc registration",
    "outbound_legs": "bounded diagnosis echo_result leg peers scu verdict",
    "outlet": "",
    "peer_file": "errors new_files peers rules toml_file",
    "peers": "ae_title diagnosis errors escape rules schema toml_file",
    "port_look": "certificate escape wire.pdu",
    "ports": "errors",
    "process": "",
    "reach": "certificate echo_result peers port_look recognition requestor tls_recognition",
    "recognition": "echo_result escape wire.associate wire.indications wire.messages wire.pdu",
    "registered_leg": "addresses diagnosis errors escape leg orthanc peers registration verdict",
    "registration": "addresses ae_title diagnosis errors escape orthanc settings",
    "regular_file": "",
    "relay": (
        "association_record diagnosis errors handover settings wire.associate wire.association wire.framing "
        "wire.passing wire.pdu wire.state_table wire.verification"
    ),
    "reload": "errors live_files node_status peers timestamp toml_file",
    "report": "echo_result node_status peers",
    "requestor": "tcp wire.association wire.indications wire.state_table",
    "rest": "addresses bounded errors escape rest_url",
    "rest_url": "errors escape rules schema",
    "roundtrip": (
        "bounded errors image_legs inbound inbound_leg leg orthanc outbound_legs peers registered_leg "
        "registration settings verdict"
    ),
    "rules": "ae_title certificate escape names schema wire.items wire.verification",
    "schema": "",
    "scp": "ae_title association_record handover listener peers rules settings tls",
    "scu": "ae_title call echo_callbacks echo_result peers settings tls wire.framing wire.items wire.verification",
    "services": "",
    "services.attributes": "",
    "services.bell": "",
    "services.bounded_reading": "escape regular_file services.texts",
    "services.buffered_socket": "tcp",
    "services.caller": "call_words diagnosis peers recognition",
    "services.calling": (
        "echo_result reach recognition requestor services.bounded_reading services.caller services.content "
        "services.library services.line services.promptness tls_recognition wire.associate wire.association "
        "wire.framing wire.indications wire.items wire.pdu wire.verification"
    ),
    "services.checkpoint": "",
    "services.computed": "",
    "services.content": "regular_file services.bounded_reading services.sop_classes",
    "services.counting": "handover",
    "services.destination": "certificate errors escape peers",
    "services.drawing": "",
    "services.durable": "",
    "services.errands": "handover services.counting",
    "services.extended_negotiation": "services.sop_classes",
    "services.fetched_files": "errors services.durable services.incoming",
    "services.find_report": "escape report services.shown",
    "services.find_scu": "services.operation services.statuses",
    "services.header": "services.attributes services.bounded_reading services.sequences services.texts",
    "services.header_table": "services.bounded_reading services.header services.shown",
    "services.image_files": "errors services.bounded_reading services.content",
    "services.incoming": "",
    "services.index": (
        "services.attributes services.extended_negotiation services.header services.object_files services.query "
        "services.tables"
    ),
    "services.index_file": "errors regular_file",
    "services.inquiry": (
        "echo_result recognition rules services.caller services.calling services.keys services.sop_classes "
        "services.statuses services.texts"
    ),
    "services.intake": "handover services.object_files services.storage_folder",
    "services.keys": "services.sop_classes",
    "services.library": "services.buffered_socket services.promptness",
    "services.line": (
        "services.bell services.buffered_socket services.promptness tcp wire.associate wire.association "
        "wire.indications"
    ),
    "services.listing": "escape services.attributes services.index services.matching services.query services.tables",
    "services.matching": "services.moments",
    "services.messages": "services.bell services.bounded_reading",
    "services.moments": "",
    "services.negotiation": (
        "handover peers rules services.intake services.sop_classes services.telling wire.associate wire.items "
        "wire.verification"
    ),
    "services.node_services": (
        "errors escape peers services.header services.index services.index_file services.object_files "
        "services.query_retrieve services.server services.storage services.storage_folder services.telling "
        "settings tls"
    ),
    "services.object_files": "errors escape regular_file rules services.durable services.storage_folder settings",
    "services.operation": (
        "diagnosis echo_result names recognition services.caller services.calling services.sop_classes "
        "services.statuses"
    ),
    "services.paced_sending": "",
    "services.picture": "services.drawing services.shown",
    "services.picture_file": "regular_file",
    "services.promptness": "services.bell services.checkpoint services.messages services.sop_classes",
    "services.query": (
        "escape services.attributes services.computed services.extended_negotiation services.matching "
        "services.sequences services.tables services.texts"
    ),
    "services.query_retrieve": (
        "escape peers services.attributes services.bounded_reading services.destination services.errands "
        "services.extended_negotiation services.index services.library services.object_files "
        "services.paced_sending services.promptness services.query services.sub_operations services.texts"
    ),
    "services.retrieve_plan": "services.calling services.inquiry services.sop_classes",
    "services.retrieve_report": "report services.retrieve_scu",
    "services.retrieve_scu": (
        "diagnosis echo_result escape recognition rules services.bounded_reading services.caller "
        "services.fetched_files services.inquiry services.keys services.operation services.retrieve_plan "
        "services.statuses services.texts"
    ),
    "services.sample_image": "association_record names services.bounded_reading services.image_files",
    "services.sequences": "escape services.attributes services.matching services.texts",
    "services.server": (
        "flood_log handover peers services.counting services.errands services.intake services.library "
        "services.negotiation services.object_files services.telling settings wire.associate wire.dimse "
        "wire.verification"
    ),
    "services.shown": "escape",
    "services.sop_classes": "wire.dimse",
    "services.statuses": "echo_result recognition",
    "services.storage": (
        "rules services.bounded_reading services.header services.intake services.object_files services.telling"
    ),
    "services.storage_folder": "errors regular_file services.durable services.index_file",
    "services.store_plan": "services.calling services.image_files services.sop_classes",
    "services.store_report": "names report services.store_scu",
    "services.store_scu": (
        "echo_result names recognition services.caller services.calling services.content services.image_files "
        "services.statuses services.store_plan"
    ),
    "services.sub_operations": (
        "escape services.content services.object_files services.paced_sending services.sop_classes"
    ),
    "services.tables": (
        "services.attributes services.index_file services.matching services.moments services.storage_folder"
    ),
    "services.telling": "flood_log services.intake",
    "services.texts": "",
    "settings": "errors rules schema toml_file wire.framing wire.messages",
    "shortfall": "diagnosis ending escape rules wire.dimse wire.items",
    "side_by_side": "echo_result peers scu",
    "status_report": "association_record node_status peers",
    "tally": "association_record connection escape node_status timestamp",
    "tcp": "",
    "timestamp": "",
    "tls": "errors key_privacy settings toml_file",
    "tls_connection": (
        "association_record connection diagnosis errors escape listening recognition tcp tls tls_recognition wire.pdu"
    ),
    "tls_guide": "peers settings trial_certificates",
    "tls_recognition": "echo_result recognition",
    "toml_file": "errors escape regular_file schema toml_pieces",
    "toml_pieces": "",
    "tracing": "",
    "tracing.dissection": "names tracing.fields tracing.items wire.associate wire.dimse wire.header wire.pdu",
    "tracing.dump": "tracing.dissection tracing.fields wire.association wire.pdu",
    "tracing.fields": "escape names",
    "tracing.items": "names tracing.fields wire.items",
    "tracing.log": (
        "escape flood_log recognition tracing.dump tracing.negotiation wire.associate wire.association wire.pdu"
    ),
    "tracing.negotiation": (
        "errors escape names tracing.dump tracing.fields tracing.items wire.associate wire.header wire.items wire.pdu"
    ),
    "tracing.transcript": "echo_callbacks tracing.dump tracing.negotiation wire.associate wire.association wire.pdu",
    "trial_certificates": "authority certificate errors escape key_privacy new_files toml_file",
    "turns": "",
    "verdict": "echo_result leg",
    "wire": "",
    "wire.associate": "ae_title errors wire.header wire.items",
    "wire.association": (
        "errors wire.associate wire.dimse wire.framing wire.indications wire.items wire.messages wire.pdu "
        "wire.state_table"
    ),
    "wire.dimse": "errors wire.items",
    "wire.framing": "errors wire.associate wire.header wire.items wire.pdu",
    "wire.header": "errors wire.items",
    "wire.indications": "wire.associate wire.messages wire.pdu",
    "wire.items": "errors",
    "wire.messages": "errors wire.dimse wire.items wire.pdu",
    "wire.passing": "errors wire.dimse wire.header wire.items wire.messages wire.pdu",
    "wire.pdu": "errors wire.associate wire.header wire.items",
    "wire.state_table": "",
    "wire.verification": "__init__ errors wire.associate wire.dimse wire.framing wire.items wire.pdu",
    "writers": "",
    "__init__": "association_record echo_callbacks echo_result errors peers scp scu side_by_side",
    "__main__": "cli process",
}

# What `import minipacs` and `minipacs echo` do without: some take longer to import than an echo takes.
HEAVY = {
    "asyncio",
    "cryptography",
    "logging",
    "ssl",
    "watchdog",
    "tomlkit",
    "pynetdicom",
    "pydicom",
    "hypothesis",
    "pytest",
}

# Each foreign library has its doors; services/ is one as a whole. msgspec is the language that values are written in,
# and is everywhere.
DOORS = {
    "PIL": {"services"},
    "click": {
        "cli",
        "cli.calls",
        "cli.echo",
        "cli.explain",
        "cli.find",
        "cli.formats",
        "cli.get",
        "cli.in_force",
        "cli.init",
        "cli.move",
        "cli.options",
        "cli.orthanc",
        "cli.orthanc_options",
        "cli.peers",
        "cli.retrieving",
        "cli.roundtrip",
        "cli.serve",
        "cli.status",
        "cli.storage",
        "cli.storage_show",
        "cli.store",
        "cli.targets",
        "cli.tls",
    },
    "cryptography": {"authority", "certificate", "trial_certificates"},
    "junitparser": {"leg_report"},
    "numpy": {"services"},
    "pydicom": {"names", "services"},
    "pynetdicom": {"names", "services"},
    "requests": {"rest"},
    "tomli": {"toml_file"},
    "tomlkit": {"peer_file"},
    "watchdog": {"file_watch"},
}


def module_of(path: Path) -> str:
    """Its name inside the package, such as `wire.pdu`; `__init__` for the package itself."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[1:] and parts[-1] == "__init__" else parts)


MODULES = {module_of(path): ast.parse(path.read_text()) for path in FILES}


def imported(tree: ast.AST) -> Iterator[str]:
    """The full name of everything that is imported anywhere in the module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are written in full"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def ours(name: str) -> str | None:
    """The module of the package that holds *name*, if it is of the package."""
    if name.partition(".")[0] != "minipacs":
        return None
    inside = name.partition(".")[2]
    return inside if inside in MODULES else inside.rpartition(".")[0] or "__init__"


def arrows(module: str) -> set[str]:
    return {target for name in imported(MODULES[module]) if (target := ours(name)) is not None}


def foreign(module: str) -> set[str]:
    return {name.partition(".")[0] for name in imported(MODULES[module])} - sys.stdlib_module_names - {"minipacs"}


def test_every_module_has_its_arrows() -> None:
    assert set(MODULES) == set(ARROWS)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_what_it_may_and_nothing_else(module: str) -> None:
    assert sorted(arrows(module)) == sorted(ARROWS[module].split())


def test_the_arrows_lead_in_no_circle() -> None:
    graph = {module: arrows(module) - {"__init__"} for module in MODULES if module != "__init__"}  # for __version__
    assert list(TopologicalSorter(graph).static_order())


def test_the_engine_knows_nothing_of_the_rest() -> None:
    outside = {target for module in MODULES if module.startswith("wire") for target in arrows(module)}
    assert {target for target in outside if not target.startswith("wire")} == {"__init__", "ae_title", "errors"}


def test_the_library_knows_nothing_of_the_command_line() -> None:
    for module in MODULES:
        if not module.startswith("cli") and module != "__main__":
            assert not any(target.startswith("cli") for target in arrows(module)), module


@pytest.mark.parametrize("library", DOORS)
def test_a_foreign_library_comes_in_by_its_doors_alone(library: str) -> None:
    users = {module for module in MODULES if library in foreign(module)}
    assert {"services" if module.startswith("services.") else module for module in users} == DOORS[library]


def test_no_other_library_comes_in() -> None:
    assert set().union(*map(foreign, MODULES)) == {"msgspec", *DOORS}


def loaded_by(statement: str) -> set[str]:
    """What a fresh process has imported after that."""
    code = f"{statement}; import sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "statement",
    [
        "import minipacs",
        "from minipacs import Peer, PeerTable, EchoResult, Outcome, echo, echo_all",
        "from minipacs import FileError, ListenError, MinipacsError, PeerTableError, ProtocolError, SettingsError",
        "import minipacs.cli.echo",
        "import minipacs.cli.peers",
        "import minipacs.cli.status, minipacs.control_client, minipacs.status_report",
        "import minipacs.cli.orthanc, minipacs.cli.roundtrip, minipacs.leg_report",
        "import minipacs.cli.store, minipacs.cli.find, minipacs.cli.move, minipacs.cli.get",
    ],
)
def test_what_is_used_most_is_light(statement: str) -> None:
    loaded = loaded_by(statement)
    assert "minipacs" in loaded
    assert not loaded & HEAVY


def test_importing_the_package_imports_no_module_of_it() -> None:
    assert {name for name in loaded_by("import minipacs") if name.startswith("minipacs")} == {"minipacs"}


def test_names_are_loaded_when_they_are_asked_for() -> None:
    assert {"pynetdicom", "pydicom"} <= loaded_by("import minipacs.tracing.log, minipacs.tracing.transcript")


def test_no_service_loads_pynetdicom_yet() -> None:
    assert not loaded_by("import minipacs.cli.serve, minipacs.scp") & {"pynetdicom", "pydicom"}


def test_a_round_trip_without_an_image_does_without_the_services() -> None:
    assert not loaded_by("import minipacs.cli.roundtrip, minipacs.roundtrip") & {"pynetdicom", "pydicom"}


def test_every_public_name_is_to_be_had() -> None:
    for name in minipacs.__all__:
        assert getattr(minipacs, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nobody'"):
        minipacs.nobody  # noqa: B018


# --- docstrings ------------------------------------------------------------------------------------------------------


Described: TypeAlias = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def public(tree: ast.Module | ast.ClassDef, within: str) -> Iterator[tuple[str, Described]]:
    """Every public class and function, and those in public classes."""
    for node in tree.body:
        if isinstance(node, Described) and not node.name.startswith("_") and not is_setter(node):
            yield f"{within}.{node.name}", node
            if isinstance(node, ast.ClassDef):
                yield from public(node, f"{within}.{node.name}")


def is_setter(node: Described) -> bool:
    """What it sets is described where it is read."""
    return any(isinstance(mark, ast.Attribute) and mark.attr == "setter" for mark in node.decorator_list)


@pytest.mark.parametrize("module", MODULES)
def test_every_module_opens_with_what_it_is(module: str) -> None:
    assert ast.get_docstring(MODULES[module])


@pytest.mark.parametrize("module", MODULES)
def test_everything_public_is_described(module: str) -> None:
    missing = [name for name, node in public(MODULES[module], module) if not ast.get_docstring(node)]
    assert missing == []
