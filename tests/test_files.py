"""Files are written whole or not at all, and never in the place of what somebody else needs."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from minibert.errors import InputError, MinibertError
from minibert.files import check_target, replacing
from tests.forked import forked

pytestmark = pytest.mark.skipif(os.name == "nt", reason="devices, links and limits of POSIX")


def write(path: Path, content: bytes = b"new", **options: object) -> None:
    with replacing(path, **options) as file:  # type: ignore[arg-type]
        file.write(content)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def make_special(path: Path, kind: str) -> None:
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as end:
            end.bind(os.fspath(path))
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/null")


@pytest.mark.parametrize("kind", ["pipe", "socket", "folder", "device"])
@pytest.mark.parametrize("linked", [False, True])
def test_what_is_no_file_is_never_replaced(tmp_path, kind, linked):
    path = tmp_path / "special"
    make_special(path, kind)
    before = os.stat(path)
    if linked:
        (tmp_path / "link").symlink_to("special")
        path = tmp_path / "link"
    with pytest.raises(InputError, match=f"is a {kind}; name the file to write"):
        write(path)
    after = os.stat(path)
    assert (before.st_mode, before.st_ino, before.st_dev) == (after.st_mode, after.st_ino, after.st_dev)
    assert names(tmp_path) == sorted(["special", *(["link"] if linked else [])])


def test_a_device_node_stays_one(tmp_path):
    path = tmp_path / "null"
    try:
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("this user makes no devices")
    with pytest.raises(InputError, match="is a device"):
        write(path)
    assert stat.S_ISCHR(path.stat().st_mode)


def test_links_are_followed_but_nothing_foreign_is_lost_through_them(tmp_path):
    (tmp_path / "store").mkdir()
    real, link = tmp_path / "store/real", tmp_path / "link"
    link.symlink_to("store/real")
    write(link, b"first")
    assert link.is_symlink()
    write(link, b"second")  # as any program writes through a link
    assert real.read_bytes() == b"second"

    def ours(path: str) -> bool:
        return Path(path).read_bytes() == b"second"

    write(link, b"foreign", ours=ours)
    with pytest.raises(InputError, match=r"is a link to .*real, which would be lost"):
        write(link, ours=ours)
    assert real.read_bytes() == b"foreign"
    write(real, ours=ours)  # under its own name it is meant
    assert real.read_bytes() == b"new"
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises(InputError, match="circle"):
        write(tmp_path / "circle")


@pytest.mark.parametrize("by", ["name", "link", "hard link", "linked folder", "blob", "dots"])
def test_what_is_read_is_never_written(tmp_path, by):
    """A file of a folder of inputs, as the Hub's cache keeps it, by every way that leads to it."""
    blobs, folder = tmp_path / "blobs", tmp_path / "snapshots/1"
    blobs.mkdir()
    folder.mkdir(parents=True)
    (blobs / "abc").write_bytes(b"weights")
    (folder / "model").symlink_to("../../blobs/abc")
    (tmp_path / "link").symlink_to(folder / "model")
    os.link(blobs / "abc", tmp_path / "hard")
    (tmp_path / "other").symlink_to(folder)
    path = {
        "name": folder / "model",
        "link": tmp_path / "link",
        "hard link": tmp_path / "hard",
        "linked folder": tmp_path / "other/model",
        "blob": blobs / "abc",
        "dots": folder / "../1/model",
    }[by]
    with pytest.raises(InputError, match=r"belongs to .*, which is read, and would be lost"):
        write(path, inputs=[tmp_path / "nothing", folder])
    assert (blobs / "abc").read_bytes() == b"weights"
    write(folder / "another", inputs=[folder])
    assert (folder / "another").read_bytes() == b"new"


def test_two_outputs_with_one_name(tmp_path):
    """The second is refused before the first exists."""
    (tmp_path / "link").symlink_to("model")
    for path in ("model", "link"):
        with pytest.raises(InputError, match="belongs to"):
            check_target(tmp_path / path, [tmp_path / "model"])


def test_places_for_no_file(tmp_path):
    with pytest.raises(InputError, match="no such folder; make it first"):
        write(tmp_path / "absent/file")
    with pytest.raises(InputError, match="null"):
        write(Path("a\0b"))


def test_modes(tmp_path):
    mask = os.umask(0o022)
    try:
        for path, private in ((tmp_path / "file", False), (tmp_path / "mine", True)):
            write(path, private=private)
        os.umask(0)
        write(tmp_path / "private", private=True)
        write(tmp_path / "file")  # as it was
    finally:
        os.umask(mask)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {"file": 0o644, "mine": 0o600, "private": 0o600}


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    write(path, b"old")

    def stop(error: BaseException) -> None:
        with replacing(path) as file:
            file.write(b"half")
            raise error

    for error in (ValueError(), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            stop(error)
    with pytest.raises(MinibertError, match=r"cannot write .*file: No space"):
        stop(OSError(28, "No space left on device"))
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_a_folder_that_may_not_be_written_to_is_found_before_the_work():
    with tempfile.TemporaryDirectory() as folder:  # others may not look into tmp_path

        def check() -> str:
            if os.getuid() == 0:  # who may write anywhere
                os.setuid(65534)
            return check_target(os.path.join(folder, "file"))

        os.chmod(folder, 0o555)
        assert "may not write to" in forked(check)
        os.chmod(folder, 0o777)
        assert forked(check) == os.path.realpath(os.path.join(folder, "file"))


def test_a_full_disk(tmp_path):
    path = tmp_path / "file"
    write(path, b"old")
    said = forked(lambda: write(path, bytes(1 << 20)), file_size=1 << 16)
    assert said.startswith("MinibertError: cannot write")
    assert "File too large" in said
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_what_a_killed_process_left_is_removed_and_what_is_being_written_is_not(tmp_path):
    path = tmp_path / ("a long name " * 12)
    code = "import sys; from minibert.files import replacing\nwith replacing(sys.argv[1]) as file: print(1); input()"
    with subprocess.Popen(
        [sys.executable, "-u", "-c", code, os.fspath(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"1\n"
        begun = names(tmp_path)
        write(path, b"first")
        assert names(tmp_path) == sorted([*begun, path.name])
        child.kill()
    assert len(names(tmp_path)) == 2
    for other in (f"{path.name}.tmp", f"{path.name[:32]}.tmp0123", "another.tmp0123456789abcdef"):
        (tmp_path / other).touch()
    os.mkfifo(tmp_path / f"{path.name[:32]}.tmp0123456789abcdef")
    write(path, b"second")
    assert path.read_bytes() == b"second"
    assert set(names(tmp_path)).isdisjoint(begun)
    assert len(names(tmp_path)) == 5


def test_names_are_not_to_be_guessed(tmp_path):
    seen = set()
    for _ in range(20):
        with replacing(tmp_path / "file") as file:
            seen.add(file.name)
    assert len({name[-16:] for name in seen}) == 20
    assert all(len(Path(name).name) == len("file.tmp") + 16 for name in seen)
