"""The peer table follows its file, whichever way that is saved, and is never for a moment what nobody meant."""

import os
import queue
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import pytest

from minipacs import PeerTable, PeerTableError, file_watch, live_files
from minipacs.file_watch import TELLS_CLOSE, Change, FileWatch
from minipacs.live_files import CONFIRMATION
from minipacs.reload import LivePeerTable, Reload
from minipacs.writers import is_open_for_writing

from .peers.process import wait_until
from .test_toml_file import public_folder, without_privileges

WELL_UNDER_A_SECOND = 1.0  # generous, for a machine that has other things to do
PATIENCE = 5.0

FAULTY = '[peers.a]\nae_title = ""\n'

Names: TypeAlias = tuple[str, ...]
Save: TypeAlias = Callable[[str], object]


def text_of(*names: str) -> str:
    return "\n".join(f'[peers.{name}]\nae_title = "{name.upper()}"\n' for name in names)


class Followed:
    """A live table and what it told."""

    def __init__(self, path: Path) -> None:
        self._told: queue.SimpleQueue[Reload] = queue.SimpleQueue()
        self.live = LivePeerTable(path, self._told.put)

    @property
    def names(self) -> Names:
        return tuple(self.live.current)

    def next(self, within: float = WELL_UNDER_A_SECOND) -> Reload:
        """What is told next."""
        try:
            return self._told.get(timeout=within)
        except queue.Empty:
            raise AssertionError(f"nothing told within {within:g} s; in force: {self.names}") from None

    def takes_up(self, *names: str, within: float = WELL_UNDER_A_SECOND) -> Reload:
        """What is told next is that these are in force now."""
        told = self.next(within)
        assert (told.faults, self.names) == ((), names)
        return told

    @property
    def has_more_to_tell(self) -> bool:
        return not self._told.empty()


@contextmanager
def following(path: Path) -> Iterator[Followed]:
    followed = Followed(path)
    with followed.live:
        yield followed
    assert not followed.has_more_to_tell


@contextmanager
def sampled(followed: Followed) -> Iterator[list[Names]]:
    """Every table that was in force meanwhile, as a reader saw it who looks all the time."""
    seen = [followed.names]
    is_over = threading.Event()

    def look() -> None:
        last, is_last_look = followed.live.current, False
        while not is_last_look:
            is_last_look = is_over.wait(0.0002)  # lets the others run
            current = followed.live.current
            if current is not last:
                seen.append(tuple(current))
                last = current

    reader = threading.Thread(target=look)
    reader.start()
    try:
        yield seen
    finally:
        is_over.set()
        reader.join()


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """One entry for each time the file was read, once its content is known."""
    done: list[Path] = []
    read = PeerTable.read

    def counting(path: Path) -> PeerTable:
        try:
            return read(path)
        finally:
            done.append(path)

    monkeypatch.setattr(PeerTable, "read", counting)
    return done


def dawdle(seconds: float) -> None:
    """How long somebody takes who saves slowly. Nothing is waited for here."""
    time.sleep(seconds)


# --- every way of saving ---------------------------------------------------------------------------------------------


def plain(folder: Path) -> Path:
    path = folder / "site" / "conf" / "peers.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def rename_over(path: Path, text: str) -> None:
    temporary = path.with_name("temporary")
    temporary.write_text(text)
    temporary.replace(path)


def relink(link: Path, target: str) -> None:
    """As `ln -sfn`: another link takes the place of the link."""
    temporary = link.with_name("temporary link")
    temporary.symlink_to(target)
    temporary.replace(link)


def written_in_place(folder: Path) -> tuple[Path, Save]:
    path = plain(folder)
    return path, path.write_text


def written_by_cp(folder: Path) -> tuple[Path, Save]:
    path = plain(folder)

    def save(text: str) -> None:
        (folder / "source").write_text(text)
        subprocess.run(["cp", folder / "source", path], check=True)

    return path, save


def written_by_dd_without_truncation_first(folder: Path) -> tuple[Path, Save]:
    path = plain(folder)

    def save(text: str) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
        os.write(descriptor, text.encode())
        os.ftruncate(descriptor, len(text))
        os.close(descriptor)

    return path, save


def renamed_over(folder: Path) -> tuple[Path, Save]:
    path = plain(folder)
    return path, lambda text: rename_over(path, text)


def backed_up_by_renaming(folder: Path) -> tuple[Path, Save]:
    """As vim: the old file becomes the backup, another is made, the backup is deleted."""
    path = plain(folder)

    def save(text: str) -> None:
        backup = path.with_name("peers.toml~")
        if path.exists():
            path.rename(backup)
        path.write_text(text)
        backup.unlink(missing_ok=True)

    return path, save


def backed_up_by_copying(folder: Path) -> tuple[Path, Save]:
    path = plain(folder)

    def save(text: str) -> None:
        if path.exists():
            shutil.copy2(path, path.with_name("peers.toml~"))
        path.write_text(text)

    return path, save


def moved_in(folder: Path) -> tuple[Path, Save]:
    path = plain(folder)

    def save(text: str) -> None:
        (folder / "elsewhere").write_text(text)
        (folder / "elsewhere").rename(path)

    return path, save


def moved_in_from_another_file_system(folder: Path) -> tuple[Path, Save]:
    path = plain(folder)

    def save(text: str) -> None:
        elsewhere = Path("/dev/shm") / f"minipacs-{os.getpid()}"
        elsewhere.write_text(text)
        subprocess.run(["mv", elsewhere, path], check=True)

    return path, save


def linked_in(folder: Path) -> tuple[Path, Save]:
    """A hard link: nobody writes or closes a file of that name."""
    path = plain(folder)

    def save(text: str) -> None:
        (folder / "elsewhere").unlink(missing_ok=True)
        (folder / "elsewhere").write_text(text)
        path.unlink(missing_ok=True)
        os.link(folder / "elsewhere", path)

    return path, save


def deleted_and_made_again(folder: Path) -> tuple[Path, Save]:
    path = plain(folder)

    def save(text: str) -> None:
        path.unlink(missing_ok=True)
        path.write_text(text)

    return path, save


def folder_deleted_and_made_again(folder: Path) -> tuple[Path, Save]:
    path = plain(folder)

    def save(text: str) -> None:
        shutil.rmtree(path.parent)
        path.parent.mkdir()
        path.write_text(text)

    return path, save


def two_folders_deleted_and_made_again(folder: Path) -> tuple[Path, Save]:
    path = plain(folder)

    def save(text: str) -> None:
        shutil.rmtree(folder / "site")
        path.parent.mkdir(parents=True)
        path.write_text(text)

    return path, save


def folder_exchanged_by_renaming(folder: Path) -> tuple[Path, Save]:
    path = plain(folder)
    count = iter(range(1000))

    def save(text: str) -> None:
        new, old = path.parent.with_name("new"), path.parent.with_name(f"old {next(count)}")
        new.mkdir()
        (new / "peers.toml").write_text(text)
        path.parent.rename(old)
        new.rename(path.parent)

    return path, save


def target_written_in_place(folder: Path) -> tuple[Path, Save]:
    path = plain(folder)
    (folder / "real").mkdir()
    path.symlink_to("../../real/table")
    return path, (folder / "real" / "table").write_text


def target_renamed_over(folder: Path) -> tuple[Path, Save]:
    path, _ = target_written_in_place(folder)
    return path, lambda text: rename_over(folder / "real" / "table", text)


def target_deleted_with_its_folder_and_made_again(folder: Path) -> tuple[Path, Save]:
    path, write = target_written_in_place(folder)

    def save(text: str) -> None:
        shutil.rmtree(folder / "real")
        (folder / "real").mkdir()
        write(text)

    return path, save


def link_exchanged(folder: Path) -> tuple[Path, Save]:
    path = plain(folder)
    count = iter(range(1000))

    def save(text: str) -> None:
        target = folder / f"real {next(count)}"
        target.write_text(text)
        relink(path, str(target))

    return path, save


def link_deleted_and_made_again(folder: Path) -> tuple[Path, Save]:
    path = plain(folder)
    count = iter(range(1000))

    def save(text: str) -> None:
        target = folder / f"real {next(count)}"
        target.write_text(text)
        path.unlink(missing_ok=True)
        path.symlink_to(target)

    return path, save


def mounted_by_kubernetes(folder: Path) -> tuple[Path, Save]:
    """peers.toml → ..data/peers.toml, ..data → ..time/: the link ..data is exchanged, the old folder deleted."""
    path = plain(folder)
    path.symlink_to("..data/peers.toml")
    count = iter(range(1000))

    def save(text: str) -> None:
        data = path.with_name("..data")
        old = data.resolve() if data.is_symlink() else None
        new = path.with_name(f"..2026_{next(count)}")
        new.mkdir()
        (new / "peers.toml").write_text(text)
        relink(data, new.name)
        if old:
            shutil.rmtree(old)

    return path, save


def folder_link_exchanged(folder: Path) -> tuple[Path, Save]:
    """As a deployment: current → releases/1, and the table is two folders below."""
    count = iter(range(1000))

    def save(text: str) -> None:
        release = f"releases/{next(count)}"
        (folder / release / "etc" / "conf").mkdir(parents=True)
        (folder / release / "etc" / "conf" / "peers.toml").write_text(text)
        relink(folder / "current", release)

    return folder / "current" / "etc" / "conf" / "peers.toml", save


def one_of_many_links_exchanged(folder: Path) -> tuple[Path, Save]:
    """peers.toml → ../one → two/table, and two → a folder, which is exchanged."""
    path = plain(folder)
    path.symlink_to("../one")
    (folder / "site" / "one").symlink_to("two/table")
    count = iter(range(1000))

    def save(text: str) -> None:
        new = folder / f"three {next(count)}"
        new.mkdir()
        (new / "table").write_text(text)
        relink(folder / "site" / "two", f"../{new.name}")

    return path, save


WAYS = [
    written_in_place,
    written_by_cp,
    written_by_dd_without_truncation_first,
    renamed_over,
    backed_up_by_renaming,
    backed_up_by_copying,
    moved_in,
    pytest.param(
        moved_in_from_another_file_system,
        marks=pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="no other file system"),
    ),
    linked_in,
    deleted_and_made_again,
    folder_deleted_and_made_again,
    two_folders_deleted_and_made_again,
    folder_exchanged_by_renaming,
    target_written_in_place,
    target_renamed_over,
    target_deleted_with_its_folder_and_made_again,
    link_exchanged,
    link_deleted_and_made_again,
    mounted_by_kubernetes,
    folder_link_exchanged,
    one_of_many_links_exchanged,
]


@pytest.mark.parametrize("way", WAYS)
def test_a_save_is_in_force_well_under_a_second(way: Callable[[Path], tuple[Path, Save]], tmp_path: Path) -> None:
    path, save = way(tmp_path)
    save(text_of("a", "b"))
    with following(path) as followed:
        for names in (("a", "b", "c"), ("b",), ("d", "e")):
            save(text_of(*names))
            followed.takes_up(*names)
        path.write_text(text_of("f"))  # the way of saving may change
        followed.takes_up("f")


def test_sed_in_place_is_taken_up(tmp_path: Path) -> None:
    path = plain(tmp_path)
    path.write_text(text_of("a", "b"))
    with following(path) as followed:
        for before, after in (("b", "c"), ("c", "d"), ("d", "e")):
            subprocess.run(["sed", "-i", f"s/peers.{before}/peers.{after}/;s/{before.upper()}/X/", path], check=True)
            assert followed.takes_up("a", after).added == (after,)


def test_a_path_from_the_working_folder_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = plain(tmp_path)
    path.write_text(text_of("a"))
    monkeypatch.chdir(tmp_path / "site")
    with following(Path("conf/../conf/peers.toml")) as followed:
        rename_over(path, text_of("b"))
        followed.takes_up("b")


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_a_file_that_is_missing_at_the_start_is_taken_up_once_it_is_made(depth: int, tmp_path: Path) -> None:
    path = tmp_path.joinpath(*["sub"] * depth, "peers.toml")
    with following(path) as followed:
        assert followed.names == ()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text_of("a"))
        assert followed.takes_up("a") == Reload(source=str(path), added=("a",), count=1)
        path.write_text(text_of("b"))
        followed.takes_up("b")


# --- half-written files ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pause", [0.05, 0.15])
def test_a_file_that_is_truncated_and_then_written_is_never_seen_empty(pause: float, tmp_path: Path) -> None:
    path = plain(tmp_path)
    path.write_text(text_of("a", "b"))
    with following(path) as followed, sampled(followed) as seen:
        path.write_text("")
        dawdle(pause)
        path.write_text(text_of("c"))
        followed.takes_up("c")
    assert set(seen) <= {("a", "b"), ("c",)}


def test_a_file_that_is_truncated_and_kept_open_is_never_seen_empty(tmp_path: Path) -> None:
    path = plain(tmp_path)
    path.write_text(text_of("a", "b"))
    with following(path) as followed, sampled(followed) as seen:
        with path.open("w") as file:
            dawdle(0.15)
            file.write(text_of("c"))
        followed.takes_up("c")
    assert set(seen) <= {("a", "b"), ("c",)}


def write_slowly(path: Path, pause: float) -> None:
    """Three valid tables, of which only the last is meant."""
    with path.open("w") as file:
        for name in ("c", "d", "e"):
            file.write(text_of(name))
            file.flush()
            dawdle(pause)


@pytest.mark.parametrize("pause", [0.02, 0.1, 0.3])
def test_a_file_whose_writer_is_slow_is_read_when_it_is_closed(pause: float, tmp_path: Path) -> None:
    path = plain(tmp_path)
    path.write_text(text_of("a", "b"))
    with following(path) as followed, sampled(followed) as seen:
        write_slowly(path, pause)
        followed.takes_up("c", "d", "e")
    assert set(seen) <= {("a", "b"), ("c", "d", "e")}


@pytest.mark.parametrize("pause", [0.01, 0.03])
def test_a_file_that_is_deleted_and_written_slowly_is_read_when_it_is_closed(pause: float, tmp_path: Path) -> None:
    path = plain(tmp_path)
    path.write_text(text_of("a", "b"))
    with following(path) as followed, sampled(followed) as seen:
        path.unlink()
        write_slowly(path, pause)
        followed.takes_up("c", "d", "e")
    assert set(seen) <= {("a", "b"), ("c", "d", "e")}


@pytest.mark.parametrize("pause", [0.01, 0.03])
def test_a_file_in_a_new_folder_that_is_written_slowly_is_read_when_it_is_closed(pause: float, tmp_path: Path) -> None:
    path = plain(tmp_path)
    path.write_text(text_of("a", "b"))
    with following(path) as followed, sampled(followed) as seen:
        shutil.rmtree(path.parent)
        path.parent.mkdir()
        write_slowly(path, pause)
        followed.takes_up("c", "d", "e")
    assert set(seen) <= {("a", "b"), ("c", "d", "e")}


def is_written(path: Path, process: int) -> str:
    return f"{path}: file: must be closed by whoever writes it, not open for writing in process {process}"


@pytest.mark.skipif(not TELLS_CLOSE, reason="only Linux tells who has a file open for writing")
@pytest.mark.parametrize("asks", [False, True], ids=["patience", "SIGHUP"])
def test_a_file_that_its_writer_does_not_close_is_not_taken_and_that_is_told(asks: bool, tmp_path: Path) -> None:
    path = plain(tmp_path)
    path.write_text(text_of("a"))
    with following(path) as followed, sampled(followed) as seen:
        with path.open("w") as file:
            file.write(text_of("b"))
            file.flush()
            if asks:
                followed.live.reload()
            assert followed.next(within=PATIENCE).faults == (is_written(path, os.getpid()),)
            dawdle(1.5)
            assert followed.names == ("a",)
            assert not followed.has_more_to_tell
            file.write('allow_from = ["10.0.0.0/8"]\n')
        followed.takes_up("b", within=PATIENCE)
    assert seen == [("a",), ("b",)]


@pytest.mark.skipif(not TELLS_CLOSE, reason="only Linux tells who has a file open for writing")
def test_a_file_that_is_written_does_not_start(tmp_path: Path) -> None:
    path = plain(tmp_path)
    writer = subprocess.Popen(
        ["sh", "-c", f"exec 3>{path}; echo '{text_of('a')}' >&3; echo; read _"], stdin=-1, stdout=-1
    )
    try:
        assert writer.stdout is not None
        writer.stdout.readline()
        with pytest.raises(PeerTableError) as raised, LivePeerTable(path, print):
            pytest.fail("it started")
        assert raised.value.faults == (is_written(path, writer.pid),)
    finally:
        writer.communicate()


def test_a_file_whose_writer_is_not_seen_is_read_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one on another machine, over the network."""
    monkeypatch.setattr(live_files, "writer_of", lambda _: None)
    path = plain(tmp_path)
    path.write_text(text_of("a"))
    with following(path) as followed, path.open("w") as file:
        file.write(text_of("b"))
        file.flush()
        touched(path)
        followed.takes_up("b", within=PATIENCE)


def test_a_burst_of_saves_ends_with_the_last_and_shows_no_half(tmp_path: Path) -> None:
    path = plain(tmp_path)
    many = {n: tuple(f"p{n}_{i}" for i in range(400)) for n in range(40)}
    path.write_text(text_of(*many[0]))
    with following(path) as followed, sampled(followed) as seen:
        for n, names in many.items():
            if n % 3:
                path.write_text(text_of(*names))
            else:
                rename_over(path, text_of(*names))
            dawdle(n % 5 * 0.012)
        wait_until(lambda: followed.names == many[39], within=PATIENCE, what="the last table")
        while followed.has_more_to_tell:
            followed.next()
    assert [len(names) for names in seen] == [400] * len(seen)
    assert set(seen) <= set(many.values())


class Watch:
    """Stands for the watcher: it tells what the test wants, when the test wants it."""

    def __init__(self, _: Path, told: Callable[[Change], None]) -> None:
        self.told = told
        self.moves = 0

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def update(self) -> bool:
        """Whether the file is in another folder now."""
        self.moves -= 1
        return self.moves >= 0


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> list[Watch]:
    """The watcher of the next table that is followed."""
    made: list[Watch] = []

    def make(paths: Sequence[Path], told: Callable[[Change], None]) -> Watch:
        made.append(Watch(paths[0], told))
        return made[-1]

    monkeypatch.setattr(live_files, "FileWatch", make)
    return made


def later(seconds: float, what: Callable[[], object]) -> None:
    timer = threading.Timer(seconds, what)
    timer.start()


@pytest.mark.parametrize("partial", ["", text_of("a")], ids=["empty", "half"])
def test_what_is_seen_while_somebody_writes_does_not_count(
    partial: str, tmp_path: Path, watch: list[Watch], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A save, and the next begins just when we look: we are told of that a little later."""
    monkeypatch.setattr(live_files, "_SETTLED_WHOLE", 0.5)
    path = plain(tmp_path)
    path.write_text(text_of("a", "b"))
    with following(path) as followed:
        path.write_text(partial)
        watch[0].told(Change.REPLACED)
        later(0.1, lambda: watch[0].told(Change.WRITING))
        later(0.2, lambda: (path.write_text(text_of("a", "b", "c")), watch[0].told(Change.COMPLETE)))
        followed.takes_up("a", "b", "c", within=PATIENCE)


def test_what_has_changed_since_it_was_seen_does_not_count(
    tmp_path: Path, watch: list[Watch], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even when nobody tells."""
    monkeypatch.setattr(live_files, "_SETTLED", 0.5)
    path = plain(tmp_path)
    path.write_text(text_of("a", "b"))
    with following(path) as followed:
        path.write_text(text_of("a"))
        watch[0].told(Change.COMPLETE)
        later(0.2, lambda: path.write_text(text_of("a", "b", "c")))
        followed.takes_up("a", "b", "c", within=PATIENCE)


def test_what_is_seen_in_another_folder_does_not_count_before_that_is_watched(
    tmp_path: Path, watch: list[Watch], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(vars(live_files)["_PAUSES"], Change.CREATED, 0.5)
    path = plain(tmp_path)
    path.write_text(text_of("a", "b"))
    with following(path) as followed:
        path.write_text(text_of("a"))
        watch[0].moves = 1
        watch[0].told(Change.REPLACED)
        later(0.2, lambda: path.write_text(text_of("a", "b", "c")))  # before it was watched: nobody tells
        followed.takes_up("a", "b", "c", within=PATIENCE)


# --- faults ----------------------------------------------------------------------------------------------------------


def test_a_fault_that_is_gone_within_200_ms_is_not_told(tmp_path: Path, reads: list[Path]) -> None:
    path = plain(tmp_path)
    path.write_text(text_of("a"))
    with following(path) as followed, sampled(followed) as seen:
        before = len(reads)
        rename_over(path, FAULTY)
        wait_until(lambda: len(reads) > before, within=PATIENCE, what="a look at the fault")
        dawdle(CONFIRMATION / 2)
        rename_over(path, text_of("b"))
        followed.takes_up("b")
    assert set(seen) <= {("a",), ("b",)}


def test_a_file_that_is_gone_for_less_than_200_ms_is_not_told(tmp_path: Path, reads: list[Path]) -> None:
    path = plain(tmp_path)
    path.write_text(text_of("a"))
    with following(path) as followed:
        before = len(reads)
        path.unlink()
        wait_until(lambda: len(reads) > before, within=PATIENCE, what="a look at what is gone")
        dawdle(CONFIRMATION / 2)
        rename_over(path, text_of("b"))
        followed.takes_up("b")


def test_a_file_that_is_made_again_gets_its_time_to_be_written(tmp_path: Path, reads: list[Path]) -> None:
    path = plain(tmp_path)
    path.write_text(text_of("a", "b"))
    with following(path) as followed:
        before = len(reads)
        path.unlink()
        wait_until(lambda: len(reads) > before, within=PATIENCE, what="a look at what is gone")
        dawdle(CONFIRMATION * 0.6)
        path.touch()
        dawdle(CONFIRMATION * 0.6)
        path.write_text(text_of("c"))
        followed.takes_up("c")


def test_a_fault_is_told_once_and_the_old_table_stays(tmp_path: Path, reads: list[Path]) -> None:
    path = plain(tmp_path)
    path.write_text(text_of("a"))
    with following(path) as followed, sampled(followed) as seen:
        path.write_text(FAULTY)
        fault = f'{path}: peers.a.ae_title: must not be empty, not ""'
        told = followed.next()
        assert told == Reload(source=str(path), count=1, faults=(fault,))
        assert str(told) == f"peers: the last good table stays in force (1 peer): {fault}"
        before = len(reads)
        path.write_text(FAULTY)  # saved again, and not better
        wait_until(lambda: len(reads) > before, within=PATIENCE, what="another look at the fault")
        path.write_text(text_of("b"))
        followed.takes_up("b")
    assert set(seen) <= {("a",), ("b",)}


def test_another_fault_is_told_too(tmp_path: Path) -> None:
    path = plain(tmp_path)
    path.write_text(text_of("a"))
    with following(path) as followed:
        path.write_text(FAULTY)
        assert len(followed.next().faults) == 1
        path.write_text(f"{FAULTY}colour = 1\n")
        assert len(followed.next().faults) == 2
        assert followed.names == ("a",)


def test_a_file_that_is_gone_is_told_and_the_old_table_stays(tmp_path: Path) -> None:
    path = plain(tmp_path)
    path.write_text(text_of("a"))
    with following(path) as followed:
        path.unlink()
        assert followed.next().faults == (f'{path}: file: must be readable, not "No such file or directory"',)
        assert followed.names == ("a",)
        path.write_text(text_of("a"))
        told = followed.takes_up("a")
        assert str(told) == f"peers: {path} is valid again, and as it was (1 peer)"


def test_a_folder_that_is_gone_is_told_once(tmp_path: Path) -> None:
    path = plain(tmp_path)
    path.write_text(text_of("a"))
    with following(path) as followed:
        shutil.rmtree(tmp_path / "site")
        assert followed.next().faults == (f'{path}: file: must be readable, not "No such file or directory"',)
        path.parent.mkdir(parents=True)
        path.write_text(text_of("b"))
        followed.takes_up("b")


def test_a_folder_in_the_place_of_the_file_is_a_fault(tmp_path: Path) -> None:
    path = plain(tmp_path)
    path.write_text(text_of("a"))
    with following(path) as followed:
        path.unlink()
        path.mkdir()
        assert followed.next().faults == (f"{path}: file: must be a regular file, not a folder or device",)
        path.rmdir()
        path.write_text(text_of("b"))
        wait_until(lambda: followed.names == ("b",), within=PATIENCE, what="the mended table")
        while followed.has_more_to_tell:
            followed.next()


def test_a_file_with_a_fault_does_not_start(tmp_path: Path) -> None:
    path = plain(tmp_path)
    path.write_text(f"{FAULTY}colour = 1\n")
    before = threading.active_count()
    with pytest.raises(PeerTableError) as raised, following(path):
        pytest.fail("it started")
    assert raised.value.faults == (
        f'{path}: peers.a.ae_title: must not be empty, not ""',
        f"{path}: peers.a.colour: "
        'must be one of ae_title, host, port, allow_from, tls, tls_name, certificate, services, not "colour"',
    )
    assert threading.active_count() == before


def test_a_file_that_we_may_not_look_at_does_not_start() -> None:
    with public_folder() as folder:
        (folder / "conf").mkdir(mode=0)
        before = threading.active_count()
        with (
            without_privileges(),
            pytest.raises(PeerTableError, match='must be readable, not "Permission denied"'),
            following(folder / "conf" / "peers.toml"),
        ):
            pytest.fail("it started")
        assert threading.active_count() == before


# --- silence ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        text_of("a", "b"),
        text_of("b", "a"),
        f"# a comment\n{text_of('a', 'b')}",
        text_of("a", "b").replace("\n", "\r\n"),
        'peers = { a = { ae_title = "A" }, b = { ae_title = " B " } }\n',
    ],
    ids=["same", "another order", "comment", "CR LF", "inline"],
)
def test_an_equal_table_is_silence(text: str, tmp_path: Path, reads: list[Path]) -> None:
    path = plain(tmp_path)
    path.write_text(text_of("a", "b"))
    with following(path) as followed:
        table, before = followed.live.current, len(reads)
        path.write_text(text)
        wait_until(lambda: len(reads) > before, within=PATIENCE, what="a look at the file")
        path.write_text(text_of("c"))
        followed.takes_up("c")
        assert table is not followed.live.current


def test_a_touch_is_silence(tmp_path: Path, reads: list[Path]) -> None:
    path = plain(tmp_path)
    path.write_text(text_of("a"))
    with following(path) as followed:
        before = len(reads)
        subprocess.run(["touch", path], check=True)
        wait_until(lambda: len(reads) > before, within=PATIENCE, what="a look at the file")
        path.write_text(text_of("b"))
        followed.takes_up("b")


def test_other_files_in_the_folder_are_not_our_business(tmp_path: Path) -> None:
    path = plain(tmp_path)
    path.write_text(text_of("a"))
    changes: list[Change] = []
    watch = FileWatch([path], changes.append)
    watch.start()
    for name in ("peers.toml~", ".peers.toml.swp", "4913", "minipacs.toml"):
        path.with_name(name).write_text(FAULTY)
        path.with_name(name).unlink()
    path.write_text(text_of("b"))
    wait_until(lambda: Change.COMPLETE in changes, within=PATIENCE, what="the end of our own file's writing")
    watch.stop()
    assert set(changes) == {Change.WRITING, Change.COMPLETE}


def test_a_folder_that_was_made_again_is_watched_though_it_has_the_number_of_the_old_one(tmp_path: Path) -> None:
    path = plain(tmp_path)
    changes: list[Change] = []
    watch = FileWatch([path], changes.append)
    watch.start()
    shutil.rmtree(path.parent)
    path.parent.mkdir()  # ext4 gives it the inode of the old one
    wait_until(lambda: Change.GONE in changes, within=PATIENCE, what="the end of the folder")
    watch.update()
    path.write_text(text_of("b"))
    wait_until(lambda: Change.COMPLETE in changes, within=PATIENCE, what="the end of writing")
    watch.stop()


def test_the_end_of_a_watch_logs_no_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = plain(tmp_path)
    for _ in range(30):  # in one of three, events are still to come
        watch = FileWatch([path], lambda _: None)
        watch.start()
        for number in range(20):
            path.write_text(str(number))
        watch.stop()
    assert caplog.records == []


# --- what is told ----------------------------------------------------------------------------------------------------


def test_a_change_is_told_by_names(tmp_path: Path) -> None:
    path = plain(tmp_path)
    path.write_text(text_of("mr2", "orthanc", "same"))
    with following(path) as followed:
        path.write_text(text_of("ct1", "same") + '[peers.orthanc]\nae_title = "OTHER"\n')
        told = followed.takes_up("ct1", "same", "orthanc")
    assert told == Reload(source=str(path), added=("ct1",), removed=("mr2",), changed=("orthanc",), count=3)
    assert str(told) == "peers: +ct1 -mr2 ~orthanc (3 peers)"


@pytest.mark.parametrize(
    ("told", "line"),
    [
        (Reload(source="x", added=("a",), count=1), "peers: +a (1 peer)"),
        (Reload(source="x", removed=("a",)), "peers: -a (0 peers)"),
        (Reload(source="x", count=2), "peers: x is valid again, and as it was (2 peers)"),
        (
            Reload(source="x", faults=("x: 1", "x: 2")),
            "peers: the last good table stays in force (0 peers): x: 1; x: 2",
        ),
        (
            Reload(source="x", added=tuple(f"a{n}" for n in range(25)), count=25),
            f"peers: {' '.join(f'+a{n}' for n in range(20))} and 5 more (25 peers)",
        ),
    ],
)
def test_a_reload_is_one_line(told: Reload, line: str) -> None:
    assert str(told) == line


@pytest.mark.parametrize("text", ["", "# nobody\n", "[peers]\n"])
@pytest.mark.parametrize("save", [rename_over, Path.write_text])
def test_an_empty_table_admits_nobody(save: Callable[[Path, str], object], text: str, tmp_path: Path) -> None:
    path = plain(tmp_path)
    path.write_text(text_of("a", "b"))
    with following(path) as followed:
        save(path, text)
        assert str(followed.takes_up()) == "peers: -a -b (0 peers)"
        assert followed.live.current.with_ae_title("A") is None


# --- SIGHUP ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def _blind(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system lets nobody watch folders."""

    def refuse(**_: object) -> None:
        raise OSError(24, "inotify instance limit reached")

    monkeypatch.setattr(file_watch, "Observer", refuse)


@pytest.mark.usefixtures("_blind")
def test_without_a_watch_the_table_is_read_and_reloaded_by_hand(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = plain(tmp_path)
    path.write_text(text_of("a"))
    with following(path) as followed:
        assert f"changes of {path} are not seen ([Errno 24] inotify instance limit reached)" in caplog.text
        assert str(followed.live.watch_error) == "[Errno 24] inotify instance limit reached"
        path.write_text(text_of("b"))
        followed.live.reload()
        followed.takes_up("b")


@pytest.mark.usefixtures("_blind")
@pytest.mark.parametrize("text", [FAULTY, "", None], ids=["fault", "empty", "gone"])
def test_a_reload_by_hand_waits_for_nothing_to_last(text: str | None, tmp_path: Path, reads: list[Path]) -> None:
    path = plain(tmp_path)
    path.write_text(text_of("a"))
    with following(path) as followed:
        before = len(reads)
        path.unlink()
        if text is not None:
            path.write_text(text)
        followed.live.reload()
        assert bool(followed.next().faults) == (text != "")
        assert len(reads) == before + 1
        assert followed.names == (() if text == "" else ("a",))


def test_a_reload_by_hand_of_an_equal_table_is_silence(tmp_path: Path, reads: list[Path]) -> None:
    path = plain(tmp_path)
    path.write_text(text_of("a"))
    with following(path) as followed:
        before = len(reads)
        followed.live.reload()
        wait_until(lambda: len(reads) > before, within=PATIENCE, what="a look at the file")


def test_a_reload_may_be_asked_for_in_a_signal_handler(tmp_path: Path, reads: list[Path]) -> None:
    path = plain(tmp_path)
    path.write_text(text_of("a"))
    with following(path) as followed:
        former = signal.signal(signal.SIGHUP, lambda *_: followed.live.reload())
        try:
            before = len(reads)
            os.kill(os.getpid(), signal.SIGHUP)
            wait_until(lambda: len(reads) > before, within=PATIENCE, what="a look at the file")
        finally:
            signal.signal(signal.SIGHUP, former)


# --- what it costs ---------------------------------------------------------------------------------------------------


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_nothing_is_left_running(tmp_path: Path) -> None:
    path = plain(tmp_path)
    path.write_text(text_of("a"))
    before = threading.active_count(), descriptors()
    for _ in range(5):
        with following(path) as followed:
            shutil.rmtree(path.parent)
            path.parent.mkdir()
            path.write_text(text_of("b"))
            followed.takes_up("b")
        path.write_text(text_of("a"))
    assert (threading.active_count(), descriptors()) == before


def test_a_table_that_is_not_followed_starts_nothing(tmp_path: Path) -> None:
    before = threading.active_count(), descriptors()
    assert LivePeerTable(tmp_path / "peers.toml", print).current == PeerTable()
    assert (threading.active_count(), descriptors()) == before


def test_following_for_long_does_not_pile_up_threads_and_files(tmp_path: Path) -> None:
    path, save = mounted_by_kubernetes(tmp_path)
    save(text_of("a"))
    with following(path) as followed:
        counts = []
        for n in range(10):
            save(text_of(f"b{n}"))
            followed.takes_up(f"b{n}")
            counts.append((threading.active_count(), descriptors()))
    assert max(counts[5:]) <= max(counts[:5])


def wake_ups() -> dict[str, int]:
    """How often each thread of ours but the main one has gone to sleep so far."""
    ours = [thread.native_id for thread in threading.enumerate() if thread is not threading.main_thread()]
    statuses = {thread: Path(f"/proc/self/task/{thread}/status").read_text() for thread in ours}
    return {
        f"{thread} {line}": int(line.split()[1])
        for thread, status in statuses.items()
        for line in status.splitlines()
        if line.startswith("voluntary_ctxt_switches")
    }


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="no /proc")
def test_nobody_wakes_up_while_nothing_happens(tmp_path: Path) -> None:
    path = plain(tmp_path)
    path.write_text(text_of("a"))
    with following(path) as followed:
        path.write_text(text_of("b"))
        followed.takes_up("b")
        dawdle(0.2)
        before = wake_ups()
        assert before
        dawdle(1.1)
        assert wake_ups() == before


# --- several writers -------------------------------------------------------------------------------------------------


def touched(path: Path) -> None:
    """Opened for writing and closed, as if it had been written."""
    path.open("r+b").close()


def renamed_away_and_back(path: Path) -> None:
    path.rename(path.with_name("backup"))
    path.with_name("backup").rename(path)


def linked_to(path: Path) -> None:
    path.rename(path.with_name("real"))
    path.symlink_to("real")


@pytest.mark.skipif(not TELLS_CLOSE, reason="only Linux tells who has a file open for writing")
@pytest.mark.parametrize("meddle", [touched, renamed_away_and_back, linked_to, lambda path: path.chmod(0o600)])
def test_half_of_what_one_writes_does_not_count_though_another_meddles(
    meddle: Callable[[Path], object], tmp_path: Path
) -> None:
    """A table may be valid up to the line that its writer has come to, and admit from anywhere without the next."""
    path = plain(tmp_path)
    path.write_text(text_of("a"))
    with following(path) as followed, sampled(followed) as seen:
        with path.open("w") as file:
            file.write(text_of("b"))
            file.flush()
            meddle(path)
            dawdle(0.4)
            assert followed.names == ("a",)
            file.write('allow_from = ["10.0.0.0/8"]\n')
        followed.takes_up("b", within=PATIENCE)
        assert [str(network) for network in followed.live.current["b"].allow_from] == ["10.0.0.0/8"]
    assert seen == [("a",), ("b",)]


def test_whoever_has_a_file_open_for_writing_is_known(tmp_path: Path) -> None:
    path = tmp_path / "file"
    assert not is_open_for_writing(path)
    path.write_text("x")
    assert not is_open_for_writing(path)
    with path.open("rb"):
        assert not is_open_for_writing(path)
    with path.open("ab"):
        assert is_open_for_writing(path) is TELLS_CLOSE
    assert not is_open_for_writing(path)
    assert not is_open_for_writing(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    assert not is_open_for_writing(tmp_path / "pipe")


def test_the_stop_of_a_table_logs_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = plain(tmp_path)
    path.write_text(text_of("a"))
    for _ in range(30):
        with LivePeerTable(path, lambda _: None):
            path.parent.rename(path.parent.with_name("other"))
            path.parent.mkdir()
            rename_over(path, text_of("b"))
        shutil.rmtree(path.parent.with_name("other"))
    assert caplog.records == []
