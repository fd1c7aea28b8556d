"""Fetching the released weights, from a local server that plays Zenodo; no archive can do harm."""

import errno
import os
import shutil
import stat
import struct
import threading
import zipfile

import pytest
from conftest import zipped
from zenodo_server import Server

from common import weights
from common.core.errors import UserError
from common.models import released, zenodo
from common.models.released import ICIP_2023, RELEASED, TCSVT_2024
from common.models.weight_files import inspect

RECORD, CONTENT = f"/api/records/{ICIP_2023.record}", f"/api/records/{ICIP_2023.record}/files/content"
EXTRAS = {
    "WP3/": b"",
    "WP3/README.md": b"# Use",
    "WP3/LICENSE": b"Apache",
    "WP3/LAT.py": b"",
    "__MACOSX/._x.h5": b"Mac",
}


@pytest.fixture(scope="module")
def contents(golden, tmp_path_factory):
    """{archive: {name in the zip: bytes}}: every released file, hollow, and what else an archive may hold."""
    file = tmp_path_factory.mktemp("hollow") / "weights.h5"
    hollow = {}
    for layout in golden.layouts.values():
        golden.write_hollow(layout["layers"], file)
        hollow[released.identify(inspect(file))] = file.read_bytes()
    contents = {archive: dict(EXTRAS) for archive in released.ARCHIVES}
    for entry in RELEASED:
        contents[entry.archive][f"WP3/{entry.model}/{entry.name or f'Model {entry.model}.h5'}"] = hollow[entry.network]
    return contents


@pytest.fixture
def server(contents):
    with Server() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        for archive, members in contents.items():
            server.hold(zipped(members), archive)
        yield server
        server.shutdown()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "pretrained").mkdir()
    return tmp_path / "pretrained"


@pytest.fixture
def fetch(server, folder):
    """Run `fetch` of the ICIP record, or of `records`: (exit code, how many archives were downloaded)."""

    def fetch(*records):
        server.downloads, chosen = 0, map(str, records or (ICIP_2023.record,))
        code = weights.main(["fetch", "--zenodo", server.url, "--folder", str(folder), "--record", *chosen])
        return code, server.downloads

    return fetch


@pytest.fixture
def refused(fetch, folder):
    """Run `fetch`, which must fail with one line and leave nothing behind, neither in the folder nor beside it."""

    def refused():
        with pytest.raises(UserError) as error:
            fetch()
        assert "\n" not in str(error.value) and [path.name for path in folder.parent.rglob("*")] == ["pretrained"]
        return str(error.value)

    return refused


def present(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_fetch_downloads_what_is_missing_and_only_that(fetch, folder, capsys):
    both = TCSVT_2024.record, ICIP_2023.record
    assert fetch(*both) == (0, 2)
    lines = capsys.readouterr().out.splitlines()
    assert "FALCON_IEEETCSVT2024_WP3_v1.0/WP3/LAT/LATJND1.h5: LAT, 9,783,225 parameters" in lines
    assert sum(line.endswith(": MT_3LJND or MT_3LJND_VA, 62,000,451 parameters") for line in lines) == 2
    assert sum("parameters" in line for line in lines) == 23
    files = present(folder)
    assert len(files) == 23 + 2 * len(["README.md", "LICENSE", "fetched.json"])
    assert not [name for name in files if name.endswith((".py", ".zip")) or "MACOSX" in name or "/." in name]
    assert fetch(*both) == (0, 0) and "there already" in capsys.readouterr().out
    assert weights.main(["list", "--folder", str(folder)]) == 0
    assert "23 of 23 released files" in capsys.readouterr().out

    mine = next(folder.rglob("LICENSE")).with_name("mine.h5")
    mine.write_bytes(b"mine")
    damaged = next(folder.rglob("MT_JND2_VA.h5"))  # one byte of it, which no shape shows
    before = damaged.read_bytes()
    damaged.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    assert fetch(*both) == (0, 1) and damaged.read_bytes() == before
    damaged.unlink()
    left = folder / f".part-{ICIP_2023.name}"  # by a killed run
    left.mkdir()
    assert fetch() == (0, 1) and present(folder) == sorted([*files, str(mine.relative_to(folder))])
    assert not left.exists()


def test_what_was_unpacked_by_hand_is_not_downloaded_again(fetch, contents, folder):
    for name, content in contents[ICIP_2023].items():
        if name.endswith(".h5"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
    assert fetch() == (0, 0)
    next(folder.rglob("MT_JND2_VA.h5")).write_bytes(b"cut")
    assert fetch() == (0, 1)


def test_an_archive_with_a_file_missing_and_one_too_many(server, fetch, contents, folder, capsys):
    """What there is is unpacked, the exit code is 1: partly.  The next run knows that there is no more."""
    some = {name: content for name, content in contents[ICIP_2023].items() if "JND3" not in name}
    server.hold(zipped({**some, "new.h5": b"not one"}))
    (folder / "MT_JND1_VA.h5").touch()
    for downloads in (1, 0):
        assert fetch() == (1, downloads)
        lines = capsys.readouterr().out.splitlines()
        assert f"not in {ICIP_2023.name}: MT_JND3_VA.h5" in lines
        assert any(line.startswith("MT_JND1_VA.h5 lies in 2 places") for line in lines)
        assert any(line.startswith("FALCON_ICIP2023_WP3_V1.0/new.h5: not an HDF5 file (7 bytes)") for line in lines)


@pytest.mark.parametrize("path", [RECORD, CONTENT])
def test_http_errors(server, refused, path):
    for status, headers, problem in (
        (404, {}, "HTTP 404 Not Found"),
        (429, {"Retry-After": "60"}, "HTTP 429 Too Many Requests, Retry-After 60"),
        (503, {"Retry-After": "Wed, 21 Oct"}, "HTTP 503 Service Unavailable, Retry-After Wed, 21 Oct"),
    ):
        server.replies[path] = (status, headers, b"<html>sorry</html>")
        by_hand = f"or download {ICIP_2023.name} by hand from {ICIP_2023.page}"
        advice = f"nothing was kept; check the network, try again later, {by_hand}"
        assert refused() == f"{server.url}{path}: {problem}; {advice}"


def test_what_arrives_is_not_what_was_asked_for(server, refused):
    server.cut = 5000
    assert "content: IncompleteRead(5000 bytes read" in refused()
    server.cut = None
    server.hold(b"", checksum="md5:" + 32 * "0")
    assert "does not match the known hash" in refused()
    server.hold(b"<html>no zip</html>")
    assert refused() == f"{ICIP_2023.name}: cannot be unpacked, nothing was: File is not a zip file"
    server.hold(b"", key="v2.zip")
    assert f": the record holds other.pdf, v2.zip; expected {ICIP_2023.name}; look at {ICIP_2023.page}" in refused()
    server.url = "http://127.0.0.1:1"
    assert refused().startswith(f"http://127.0.0.1:1{RECORD}: [Errno 111] Connection refused; nothing was kept; check")


def test_a_record_that_is_not_understood(server, refused):
    elsewhere = [{"links": {"self": url}} for url in ("http://elsewhere.example/a.zip", "file:///etc/passwd")]
    for fields in ({"checksum": "4a1f"}, {"checksum": None}, {"size": "large"}, {"links": {}}, *elsewhere):
        server.hold(b"", **fields)
        assert ": not the answer of Zenodo's REST API" in refused() and server.downloads == 0
    server.replies[RECORD] = (200, {}, b"<html>Welcome</html>")
    assert ": not the answer of Zenodo's REST API" in refused()


def test_no_room(server, refused, monkeypatch):
    size, usage = len(server.replies[CONTENT][2]), shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=size - 1))
    assert f": {ICIP_2023.name} takes 0.0 MB, 0.0 MB are free; make room or give another --folder" in refused()
    assert server.downloads == 0
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=size + 1))  # not for what is in it
    assert f": what {ICIP_2023.name} holds takes " in refused()


@pytest.mark.parametrize("step", ["pooch.hashes.file_hash", "shutil.copyfileobj"])  # in the download; while unpacking
def test_a_disk_that_fills_up(step, fetch, refused, folder, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(step, full)
        assert refused() == f"{folder}: the disk is full; make room or give another --folder"
    assert fetch() == (0, 1)


def test_two_runs_do_not_fetch_the_same(fetch, folder):
    with zenodo.exclusive_lock(folder / f".lock-{ICIP_2023.name}"):
        with pytest.raises(UserError, match="pretrained: another run fetches the same archive; wait for it"):
            fetch()


# --- unpacking: nothing outside the folder, no bomb, all or nothing ---

SOUND = {"WP3/LAT/LATJND1.h5": bytes(range(256)) * 8, "WP3/README.md": b"# How to use these", "WP3/LAT.py": b"print()"}


@pytest.fixture
def unpack(tmp_path):
    """Unpack a zip file of these bytes, which must fail with one line and leave nothing, nowhere: what it says."""

    def unpack(body):
        (tmp_path / "zip").mkdir()
        (tmp_path / "zip" / "some.zip").write_bytes(body)
        with pytest.raises(UserError) as error:
            zenodo.unpack(tmp_path / "zip" / "some.zip", tmp_path / "target")
        shutil.rmtree(tmp_path / "zip")  # as `fetch_archive` does
        assert not any(tmp_path.iterdir()) and "\n" not in str(error.value)
        return str(error.value).removeprefix("some.zip: cannot be unpacked, nothing was: ")

    return unpack


def special(name, mode):
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, (mode | 0o644) << 16
    return info


def test_a_hostile_member_condemns_the_archive(unpack):
    paths = ("../evil.h5", "a/../../evil.h5", "/tmp/evil.h5", "..\\evil.h5", "C:evil.h5")
    links = [special("evil.h5", stat.S_IFLNK), special("evil", stat.S_IFLNK), special("evil.h5", stat.S_IFIFO)]
    for name, content, reason in (
        *((path, b"evil", "would land outside the folder") for path in paths),
        ("../evil.txt", b"evil", "would land outside the folder"),  # refused though it would not be unpacked
        ("evil\x1b[2J.h5", b"evil", "has an odd name"),
        (zipfile.ZipInfo(""), b"evil", "has an odd name"),
        *((link, b"/etc/passwd", "is a link or a device") for link in links),
        ("bomb.h5", bytes(4 << 20), "unpacks from 0.0 MB to 4.2 MB"),
    ):
        message = unpack(zipped({**SOUND, name: content}))
        assert message == f"member {getattr(name, 'filename', name)!r} {reason}"


def test_archives_that_lie_or_are_damaged(unpack):
    sound = zipped({**SOUND, "z.h5": bytes(range(256)) * 8})
    damaged = bytearray(sound)
    damaged[len(sound) // 2] ^= 1

    def patched(*changes):
        """The zip file, whose last entry in the central directory says other things at offsets of it."""
        body = bytearray(sound)
        for offset, value in changes:
            struct.pack_into("<H" if offset == 8 else "<I", body, body.rindex(b"PK\1\2") + offset, value)
        return bytes(body)

    for body, reason in (
        (patched((24, 5000)), "member 'z.h5' is shorter than it says"),
        (patched((24, 100)), "Bad CRC-32 for file 'z.h5'"),
        (patched((24, 2 << 30)), "member 'z.h5' unpacks from 0.0 MB to 2,147.5 MB"),
        (patched((24, 2 << 30), (20, 2 << 30)), "member 'z.h5' unpacks from 2,147.5 MB to 2,147.5 MB"),
        (patched((8, 1)), "member 'z.h5' is encrypted"),
        (bytes(damaged), ""),
        (zipped({"a/x.h5": b"1", "A/X.h5": b"2"}), "two members of one name"),
        (zipped({"x.h5": b"1", "x.h5/y.h5": b"2"}), "two members of one name"),
        (zipped({"inner.zip": b"", "README": b""}), "no .h5 file in it, it holds inner.zip, README"),
    ):
        assert unpack(body).startswith(reason)
