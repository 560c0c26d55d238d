"""The folder of objects: whole files or none, names from UIDs alone, and limits that hold."""

import os
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import pytest

from minipacs.errors import StorageError
from minipacs.services.object_files import Kept, ObjectFiles, place_of
from minipacs.settings import StorageLimits

ROOM = StorageLimits(free=0)


@contextmanager
def noting(removed: list[Path], paths: Sequence[Path]) -> Iterator[None]:
    yield
    removed += paths


def keep(
    files: ObjectFiles,
    uid: str,
    content: bytes = b"abc",
    *,
    overwrite: bool = False,
    removed: list[Path] | None = None,
) -> Kept:
    file = files.new_file()
    file.write_bytes(content)
    gone: list[Path] = [] if removed is None else removed
    return files.keep(
        file, uid, overwrite=overwrite, skip=lambda _: 1, listing=lambda _, leaving: noting(gone, leaving)
    )


def test_an_object_is_named_after_its_uid(tmp_path: Path) -> None:
    files = ObjectFiles(tmp_path / "new" / "folder", ROOM)
    assert keep(files, "1.2.3") is Kept.NEW
    [path] = files
    assert path == files.path_of("1.2.3")
    assert path.relative_to(files.folder) == Path("objects/c4/1.2.3.dcm")
    assert path.read_bytes() == b"abc"
    assert (len(files), list(files.incoming.iterdir())) == (1, [])


@pytest.mark.parametrize(
    "uid", ["", "..", "../1.2", "1.2/3", "/etc/passwd", "1.2\0", "1.02", "1.", "1." * 40, "1.٣", "x"]
)
def test_what_is_no_uid_names_no_file(uid: str, tmp_path: Path) -> None:
    files = ObjectFiles(tmp_path, ROOM)
    with pytest.raises(ValueError, match="must be a UID"):
        files.path_of(uid)


def test_one_is_removed_by_its_uid_and_makes_room(tmp_path: Path) -> None:
    removed: list[Path] = []
    files = ObjectFiles(tmp_path, StorageLimits(free=0, objects=1), partial(noting, removed))
    keep(files, "1.2.3")
    with pytest.raises(OSError, match="as many objects are kept as may be, 1"):
        keep(files, "1.2.4")
    assert files.remove("1.2.3")
    assert not files.remove("1.2.3")
    assert (list(files), len(files)) == ([], 0)
    assert set(removed) == {files.path_of("1.2.3")}
    assert keep(files, "1.2.4") is Kept.NEW
    with pytest.raises(ValueError, match="must be a UID"):
        files.remove("../1.2.3")


def test_where_an_object_is_can_be_told_from_outside(tmp_path: Path) -> None:
    files = ObjectFiles(tmp_path, ROOM)
    keep(files, "1.2.3")
    assert place_of(tmp_path, "1.2.3") == files.path_of("1.2.3")
    assert place_of(tmp_path, "1.2.3").exists()


def test_of_two_with_one_uid_the_first_is_kept(tmp_path: Path) -> None:
    files = ObjectFiles(tmp_path, ROOM)
    keep(files, "1.2.3")
    assert keep(files, "1.2.3", b"xbc") is Kept.IDENTICAL, "what is skipped does not count"
    assert keep(files, "1.2.3", b"abd") is Kept.REFUSED
    assert files.path_of("1.2.3").read_bytes() == b"abc"
    assert keep(files, "1.2.3", b"abd", overwrite=True) is Kept.OVERWRITTEN
    assert files.path_of("1.2.3").read_bytes() == b"abd"
    assert (len(files), list(files.incoming.iterdir())) == (1, [])


def test_what_a_crash_has_left_is_swept_away(tmp_path: Path) -> None:
    files = ObjectFiles(tmp_path, ROOM)
    keep(files, "1.2.3")
    files.new_file().write_bytes(b"half")
    files.close()
    again = ObjectFiles(tmp_path, ROOM)
    assert ([path.name for path in again], list(again.incoming.iterdir())) == (["1.2.3.dcm"], [])
    assert len(again) == 1


def test_a_folder_is_of_one_node(tmp_path: Path) -> None:
    files = ObjectFiles(tmp_path, ROOM)
    with pytest.raises(StorageError) as raised:
        ObjectFiles(tmp_path, ROOM)
    assert str(raised.value) == f"{tmp_path}: folder: must be that of one node, not of two: another one uses it"
    files.close()
    ObjectFiles(tmp_path, ROOM).close()


def test_a_folder_that_cannot_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError) as raised:
        ObjectFiles(tmp_path / "file", ROOM)
    assert str(raised.value).endswith('folder: must be one where objects can be kept, not "Not a directory"')


def test_there_is_room_within_the_limits_alone(tmp_path: Path) -> None:
    files = ObjectFiles(tmp_path, StorageLimits(free=0))
    assert files.room() == ""
    free = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize
    files.close()
    full = ObjectFiles(tmp_path, StorageLimits(free=2 * free))
    assert full.room() == f"less than {2 * free} bytes would be free"
    full.close()
    assert ObjectFiles(tmp_path, StorageLimits(free=0)).room(2 * free) == "less than 0 bytes would be free"


def test_the_limit_of_objects_holds_and_one_that_is_there_may_come_again(tmp_path: Path) -> None:
    files = ObjectFiles(tmp_path, StorageLimits(free=0, objects=1))
    keep(files, "1.2.3")
    with pytest.raises(OSError, match="as many objects are kept as may be, 1"):
        keep(files, "1.2.4")
    assert keep(files, "1.2.3") is Kept.IDENTICAL
    assert (len(list(files)), list(files.incoming.iterdir())) == (1, [])


def test_the_oldest_gives_way_where_that_is_wanted(tmp_path: Path) -> None:
    removed: list[Path] = []
    limits = StorageLimits(free=0, objects=3, keep="newest")
    files = ObjectFiles(tmp_path, limits)
    for number in range(1, 4):
        keep(files, f"1.2.{number}")
        os.utime(files.path_of(f"1.2.{number}"), (number, number))
    assert keep(files, "1.2.1") is Kept.IDENTICAL
    assert removed == []
    for number in range(4, 6):
        keep(files, f"1.2.{number}", removed=removed)
    assert [path.stem for path in removed] == ["1.2.1", "1.2.2"]
    assert sorted(path.stem for path in files) == ["1.2.3", "1.2.4", "1.2.5"]


def test_where_it_would_not_help_nothing_gives_way(tmp_path: Path) -> None:
    full = StorageLimits(free=1 << 60, keep="newest")
    with closing(ObjectFiles(tmp_path, ROOM)) as files:
        keep(files, "1.2.3")
    files = ObjectFiles(tmp_path, full)
    assert files.room() == f"less than {1 << 60} bytes would be free"
    with pytest.raises(OSError, match=f"less than {1 << 60} bytes would be free"):
        keep(files, "1.2.4")
    assert [path.stem for path in files] == ["1.2.3"]


def test_where_it_cannot_be_listed_nothing_is_changed(tmp_path: Path) -> None:
    files = ObjectFiles(tmp_path, StorageLimits(free=0, objects=2, keep="newest"))
    keep(files, "1.2.1")
    keep(files, "1.2.2")
    for fails_late in (False, True):
        for uid, content in (("1.2.3", b"abc"), ("1.2.4", b"abd"), ("1.2.1", b"abd")):  # the last one is there
            with pytest.raises(OSError, match="cannot be listed"):
                put(files, uid, content, fails_late=fails_late)
            assert {path.stem: path.read_bytes() for path in files} == {"1.2.1": b"abc", "1.2.2": b"abc"}
            assert (len(files), list(files.incoming.iterdir())) == (2, [])


def put(files: ObjectFiles, uid: str, content: bytes, *, fails_late: bool) -> None:
    @contextmanager
    def failing(_: Path, __: Sequence[Path]) -> Iterator[None]:
        if fails_late:
            yield
        raise OSError("cannot be listed")

    file = files.new_file()
    file.write_bytes(content)
    files.keep(file, uid, overwrite=True, skip=lambda _: 1, listing=failing)
