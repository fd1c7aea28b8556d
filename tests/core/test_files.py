"""Files that are whole or not there at all, growing tables, and names."""

import hashlib
import json
import os
from types import SimpleNamespace

import numpy as np
import pytest

from common.core import files
from common.core.errors import UserError
from common.core.names import natural_key, one_line
from common.core.row_file import RowFile
from common.core.terminal import Listing


def test_a_file_is_whole_or_as_it_was(tmp_path):
    path = tmp_path / "new" / "x.json"
    files.write_json(path, {"a": 1})
    for error in (KeyboardInterrupt, ValueError):
        with pytest.raises(error), files.atomic_write(path) as temporary:
            temporary.write_text("half")
            raise error
    assert json.loads(path.read_text()) == {"a": 1} and list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("seconds", [10**12, -(10**11)])
def test_a_file_of_an_impossible_time_has_a_stamp(seconds, tmp_path, monkeypatch):
    """As damaged file systems give them; few file systems let one set them."""
    (tmp_path / "x").write_text("x")
    times = SimpleNamespace(st_size=1, st_mtime=float(seconds), st_mtime_ns=seconds * 10**9)
    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", lambda path: times)
        assert files.file_stamp(tmp_path / "x") == f"1 bytes {seconds}000000000"
    assert files.file_stamp(tmp_path / "x").endswith("Z")


def test_a_full_disk_names_the_file(tmp_path):
    """h5py gives the number only in its text, over two lines."""
    with pytest.raises(OSError) as error, files.atomic_write(tmp_path / "x.h5"):
        raise OSError("Can't write (errno = 28,\n error message = 'No space left on device', buf = 0x55)")
    assert (error.value.filename, error.value.strerror) == (str(tmp_path / "x.h5"), "No space left on device")


def test_a_group_of_files_is_whole_or_not_there(tmp_path):
    def write(fail=False, text="new"):
        with files.atomic_group(tmp_path / "a.xml") as folder:
            (folder / "a.bin").write_text(text)
            (folder / "a.xml").write_text(text)
            if fail:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(fail=True)
    assert list(tmp_path.iterdir()) == []
    write(text="old")
    with pytest.raises(KeyboardInterrupt):
        write(fail=True)
    assert {path.read_text() for path in tmp_path.iterdir()} == {"old"}
    (tmp_path / ".part-a.xml").mkdir()
    (tmp_path / ".part-a.xml" / "rest of a killed run").touch()
    write()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a.xml": "new", "a.bin": "new"}


def test_the_file_that_one_opens_comes_last(tmp_path, monkeypatch):
    """And the old one goes first: a kill in between leaves none, never one that is not of a piece."""
    for name in ("a.xml", "a.bin", "z.json"):
        (tmp_path / name).write_text("old")
    moved, replace = [], os.replace

    def watched(source, target):
        moved.append((source.name, target.name))
        replace(source, target)

    monkeypatch.setattr(os, "replace", watched)
    with files.atomic_group(tmp_path / "a.xml") as folder:
        for name in ("a.xml", "a.bin", "z.json"):
            (folder / name).write_text("new")
    assert moved[0][0] == "a.xml" and moved[0][1] not in ("a.bin", "z.json") and moved[-1] == ("a.xml", "a.xml")
    assert [(tmp_path / name).read_text() for name in ("a.xml", "a.bin", "z.json")] == ["new"] * 3


def test_a_digest_is_of_contents_and_not_of_names(tmp_path):
    paths = [tmp_path / name for name in ("a.png", "b.png", "c.png")]
    for path, content in zip(paths, ("1", "2", "1")):
        path.write_text(content)
    array = np.arange(6.0).reshape(2, 3)
    assert files.content_digest(paths[:2], array) == files.content_digest(paths[:0:-1], array.copy("F"))
    assert files.content_digest(paths[:2]) not in (files.content_digest(paths[1::-1]), files.content_digest(paths))
    with pytest.raises(UserError, match="d.png: cannot be read"):
        files.content_digest([tmp_path / "d.png"])


def test_rows_are_on_disk_at_once_and_one_run_writes_them(tmp_path):
    first, second = (RowFile(tmp_path / "a.csv", ["path", "JND1"]) for _ in range(2))
    first.write([{"path": "a.png", "JND1": 20}])
    assert (tmp_path / ".part-a.csv").read_text().split() == ["path,JND1", "a.png,20"]  # whatever kills it now
    for another in (lambda: second.write([]), lambda: RowFile(tmp_path / "a.csv", ["path", "JND1"], resume=True)):
        with pytest.raises(UserError, match="a.csv: another run is writing it"):
            another()
    first.finish()
    assert RowFile(tmp_path / "a.csv", ["path", "JND1"], resume=True).kept_paths == {"a.png"}


def test_rows_that_are_stopped_as_their_file_is_made_leave_none(monkeypatch, tmp_path):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", stop)
    with pytest.raises(KeyboardInterrupt):
        RowFile(tmp_path / "a.csv", ["path"]).write([{"path": "a.png"}])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("suffix", "half"), [("csv", "c"), ("jsonl", '{"path": "c", "JND')])
def test_the_last_row_of_a_killed_run_is_computed_again(suffix, half, tmp_path):
    first = RowFile(tmp_path / f"a.{suffix}", ["path", "JND1"])
    first.write([{"path": name, "JND1": "20"} for name in ("a", "b", "b", "c")])
    first._file.close()
    with open(tmp_path / f".part-a.{suffix}", "a") as part:
        part.write(half)
    again = RowFile(tmp_path / f"a.{suffix}", ["path", "JND1"], resume=True)
    assert again.kept_paths == {row["path"] for row in again.kept_rows} == {"a", "b"}
    again.forget(["a"])
    again.write([{"path": "c", "JND1": "21"}])
    again.finish()
    whole = RowFile(tmp_path / f"a.{suffix}", ["path", "JND1"], resume=True)
    assert [row["path"] for row in whole.kept_rows] == ["b", "b", "c"]
    assert [path.name for path in tmp_path.iterdir()] == [f"a.{suffix}"]


def test_lines_fit_the_terminal_and_are_whole_elsewhere(monkeypatch, capsys):
    name, note = f"{'holiday/' * 8}sunset 日没 😀\n.jpg", "  27.31  1920x1080 to 640x352; seen 2 times wider"
    monkeypatch.setenv("COLUMNS", "60")
    Listing([name], room=25).print(name, note)
    assert capsys.readouterr().out == one_line(name) + note + "\n"
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    Listing([name], room=25).print(name, note)
    # 60 columns, of which three characters take two each.
    assert capsys.readouterr().out == "holiday/holiday/h…set 日没 😀\\n.jpg  27.31  1920x1080 to 64…\n"


def test_natural_order():
    names = ["b.png", "img10.png", "Img2.PNG", "img01.png", "img1.png", "img2b.png", "10.png", "9.png", "img.png"]
    expected = ["9.png", "10.png", "b.png", "img.png", "img01.png", "img1.png", "Img2.PNG", "img2b.png", "img10.png"]
    assert sorted(names, key=natural_key) == sorted(reversed(names), key=natural_key) == expected


def test_a_digest_is_of_what_the_file_holds_now_and_is_computed_once(tmp_path, monkeypatch):
    path, computed = tmp_path / "weights.h5", []
    digest = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda *args: computed.append(args) or digest(*args))
    for content in (b"first", b"other"):
        path.write_bytes(content)
        assert files.sha256(path) == files.sha256(path) == hashlib.sha256(content).hexdigest()
    assert len(computed) == 2
