"""Fetching the released weights, from a local server that plays Zenodo."""

import errno
import hashlib
import http.server
import io
import json
import os
import shutil
import threading
import time
import zipfile

import pytest
from conftest import zipped

from common import weights
from common.core.errors import UserError
from common.models import released
from common.models.released import ICIP_2023, RELEASED, TCSVT_2024


@pytest.fixture(scope="module")
def contents(golden, tmp_path_factory):
    """{archive: {name in the zip: bytes}}: every released file, hollow, and what else an archive may hold."""
    file = tmp_path_factory.mktemp("hollow") / "weights.h5"
    hollow = {}
    for layout in golden.layouts.values():
        golden.write_hollow(layout["layers"], file)
        hollow[released.identify(file)] = file.read_bytes()
    contents = {archive: {} for archive in released.ARCHIVES}
    for entry in RELEASED:
        name = entry.name or f"Model {entry.model}.h5"
        contents[entry.archive][f"WP3/{entry.model}/{name}"] = hollow[entry.network]
    for members in contents.values():
        members |= {
            "WP3/": b"",
            "WP3/README.md": b"# How to use these",
            "WP3/LICENSE": b"Apache",
            "WP3/LAT.py": b"print()",
            "__MACOSX/WP3/LAT/._LATJND1.h5": b"Mac OS X",
        }
    return contents


class Zenodo:
    """Plays zenodo.org: answers about the two records and holds their archives.

    answers: {path: (status, headers, body)}, to be changed by a test.  requests: the (path, User-Agent) asked for.
    cut: how many bytes of an archive are sent before the connection is closed, None for all.
    """

    def __init__(self, contents):
        self.requests, self.answers, self.cut = [], {}, None
        zenodo = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                zenodo.requests.append((self.path, self.headers["User-Agent"]))
                status, headers, body = zenodo.answers.get(self.path, (404, {}, b"no such page"))
                self.send_response(status)
                for name, value in {"Content-Length": len(body), **headers}.items():
                    self.send_header(name, str(value))
                self.end_headers()
                self.wfile.write(body[: zenodo.cut] if self.path.endswith("/content") else body)

            def log_message(self, *arguments):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        for archive, members in contents.items():
            self.hold(archive, zipped(members))

    @staticmethod
    def record(archive):
        return f"/api/records/{archive.record}"

    def file(self, archive):
        return f"{self.record(archive)}/files/{archive.name}/content"

    def hold(self, archive, body, **fields):
        """Answer with `body` as the archive; `fields` replace what the record says of it."""
        said = {
            "id": "4a1f",
            "key": archive.name,
            "size": len(body),
            "checksum": f"md5:{hashlib.md5(body).hexdigest()}",
            "links": {"self": self.url + self.file(archive)},
        }
        answer = {"id": archive.record, "files": [{**said, "key": "other.pdf"}, {**said, **fields}]}
        self.answers[self.record(archive)] = (200, {"Content-Type": "application/json"}, json.dumps(answer).encode())
        self.answers[self.file(archive)] = (200, {"Content-Type": "application/octet-stream"}, body)

    def downloads(self):
        """How many archives were asked for since the last call."""
        count = sum(path.endswith("/content") for path, _ in self.requests)
        self.requests.clear()
        return count


@pytest.fixture
def zenodo(contents):
    zenodo = Zenodo(contents)
    yield zenodo
    zenodo.server.shutdown()
    zenodo.server.server_close()


@pytest.fixture
def fetch(zenodo, tmp_path):
    """Run `fetch` of the ICIP record, or of `records`, into tmp_path/pretrained: the exit code."""
    (tmp_path / "pretrained").mkdir()

    def fetch(*records):
        chosen = [str(record) for record in records or (ICIP_2023.record,)]
        folder = str(tmp_path / "pretrained")
        return weights.main(["fetch", "--zenodo", zenodo.url, "--folder", folder, "--record", *chosen])

    return fetch


@pytest.fixture
def refused(fetch, tmp_path):
    """Run `fetch`, which must fail with one line and leave nothing behind, neither in the folder nor beside it."""

    def refused():
        with pytest.raises(UserError) as error:
            fetch()
        assert "\n" not in str(error.value)
        assert [path.name for path in tmp_path.rglob("*")] == ["pretrained"]
        return str(error.value)

    return refused


def present(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_fetch_brings_what_is_missing_and_only_that(zenodo, fetch, tmp_path, capsys):
    folder = tmp_path / "pretrained"
    assert fetch(TCSVT_2024.record, ICIP_2023.record) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "FALCON_IEEETCSVT2024_WP3_v1.0/WP3/LAT/LATJND1.h5: LAT, 9,783,225 parameters" in lines
    assert "FALCON_IEEETCSVT2024_WP3_v1.0/WP3/E2E-REC/E2ERECJND3.h5: E2E-REC, 8,078,384 parameters" in lines
    assert sum(line.endswith(": MT_3LJND or MT_3LJND_VA, 62,000,451 parameters") for line in lines) == 2
    assert sum("parameters" in line for line in lines) == 23
    files = present(folder)
    assert len(files) == 23 + 2 * len(["README.md", "LICENSE", "fetched.json"])
    assert not [name for name in files if name.endswith((".py", ".zip")) or "MACOSX" in name or ".part-" in name]
    assert all("pooch" in agent for _, agent in zenodo.requests)
    assert zenodo.downloads() == 2

    assert fetch(TCSVT_2024.record, ICIP_2023.record) == 0
    assert "there already" in capsys.readouterr().out and zenodo.requests == []
    assert weights.main(["list", "--folder", str(folder)]) == 0
    assert "23 of 23 released files" in capsys.readouterr().out

    damaged = next(folder.rglob("MT_JND2_VA.h5"))  # one byte of it, which no shape shows
    before = damaged.read_bytes()
    damaged.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    assert fetch(TCSVT_2024.record, ICIP_2023.record) == 0 and zenodo.downloads() == 1
    assert damaged.read_bytes() == before and present(folder) == files
    damaged.unlink()
    assert fetch() == 0 and zenodo.downloads() == 1 and present(folder) == files


def test_what_was_unpacked_by_hand_is_not_downloaded_again(zenodo, fetch, contents, tmp_path):
    with zipfile.ZipFile(io.BytesIO(zipped(contents[ICIP_2023]))) as archive:
        archive.extractall(tmp_path / "pretrained")
    assert fetch() == 0 and zenodo.requests == []
    next(tmp_path.rglob("MT_JND2_VA.h5")).write_bytes(b"cut")
    assert fetch() == 0 and zenodo.downloads() == 1


def test_an_archive_that_lacks_a_file(zenodo, fetch, contents, tmp_path, capsys):
    """What there is is unpacked, the exit code is 1: partly.  The next run knows that there is no more."""
    zenodo.hold(
        ICIP_2023, zipped({name: content for name, content in contents[ICIP_2023].items() if "JND3" not in name})
    )
    (tmp_path / "pretrained" / "MT_JND1_VA.h5").touch()
    for downloads in (1, 0):
        assert fetch() == 1 and zenodo.downloads() == downloads
        lines = capsys.readouterr().out.splitlines()
        assert f"not in {ICIP_2023.name}: MT_JND3_VA.h5" in lines
        assert any(line.startswith("MT_JND1_VA.h5 lies in 2 places") for line in lines)


def test_an_archive_with_a_file_of_no_model(zenodo, fetch, contents, capsys):
    zenodo.hold(ICIP_2023, zipped({**contents[ICIP_2023], "new.h5": b"not one"}))
    assert fetch() == 1
    lines = capsys.readouterr().out.splitlines()
    assert "FALCON_ICIP2023_WP3_V1.0/new.h5: not an HDF5 file (7 bytes); expected a Keras weight file (.h5)" in lines
    assert not [line for line in lines if line.startswith("not in") or " places" in line]


def by_hand(archive=ICIP_2023):
    return f", or download {archive.name} by hand from {archive.page}"


@pytest.mark.parametrize(
    ("status", "headers", "reason"),
    [
        (404, {}, "there is no such thing (HTTP 404); check the address"),
        (403, {}, "the server refuses (HTTP 403); check the address"),
        (429, {"Retry-After": "60"}, "too many requests (HTTP 429); try again in 60 seconds"),
        (429, {}, "too many requests (HTTP 429); try again later"),
        (503, {"Retry-After": "Wed, 21 Oct"}, "the server has a problem (HTTP 503); try again after Wed, 21 Oct"),
    ],
)
@pytest.mark.parametrize("where", ["record", "file"])
def test_http_errors(zenodo, refused, status, headers, reason, where):
    path = getattr(zenodo, where)(ICIP_2023)
    zenodo.answers[path] = (status, headers, b"<html>sorry</html>")
    assert refused() == f"{zenodo.url}{path}: {reason}{by_hand()}"


def test_a_cut_connection(zenodo, refused, fetch):
    zenodo.cut = 5000
    assert ": the connection was cut in the middle; nothing of it was kept; try again" in refused()
    zenodo.cut, zenodo.requests[:] = None, []
    assert fetch() == 0 and zenodo.downloads() == 1  # from the start


def test_what_arrives_is_not_what_was_asked_for(zenodo, refused):
    zenodo.hold(ICIP_2023, b"<html>no zip</html>")
    assert refused().startswith(f"{ICIP_2023.name}: damaged, or no zip file (")
    zenodo.hold(ICIP_2023, b"", checksum="md5:" + 32 * "0")
    assert ": what arrived has not the checksum that the record gives; nothing of it was kept; try again" in refused()


def test_no_network(zenodo, refused):
    zenodo.url = "http://127.0.0.1:1"
    message = refused()
    assert message.startswith("http://127.0.0.1:1/api/records/11081000: cannot be reached (")
    assert "refused" in message and message.endswith(f"; check the network{by_hand()}")


@pytest.mark.parametrize(
    "fields",
    [
        {"checksum": "4a1f"},
        {"checksum": None},
        {"size": "large"},
        {"links": {}},
        {},  # a page instead
        {"links": {"self": "http://elsewhere.example/a.zip"}},
        {"links": {"self": "file:///etc/passwd"}},
    ],
)
def test_a_record_that_is_not_understood(zenodo, refused, fields):
    zenodo.hold(ICIP_2023, b"", **fields)
    if not fields:
        zenodo.answers[zenodo.record(ICIP_2023)] = (200, {}, b"<html>Welcome</html>")
    assert ": not the answer of Zenodo's REST API" in refused()
    assert zenodo.downloads() == 0


def test_a_record_without_the_archive(zenodo, refused):
    zenodo.hold(ICIP_2023, b"", key="v2.zip")
    assert f": the record holds other.pdf, v2.zip; expected {ICIP_2023.name}; look at {ICIP_2023.page}" in refused()


def test_no_room(zenodo, refused, monkeypatch):
    size = len(zenodo.answers[zenodo.file(ICIP_2023)][2])
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=size - 1))
    assert f": {ICIP_2023.name} takes 0.0 MB, 0.0 MB are free; make room or give another --folder" in refused()
    assert zenodo.downloads() == 0
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=size + 1))  # not for what is in it
    assert f": what {ICIP_2023.name} holds takes " in refused()


def test_a_disk_that_fills_up(zenodo, fetch, refused, tmp_path, monkeypatch):
    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    expected = f"{tmp_path / 'pretrained'}: the disk is full; make room or give another --folder"
    with monkeypatch.context() as patch:
        patch.setattr("pooch.hashes.file_hash", full)  # within the download
        assert refused() == expected
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)  # while unpacking
        with pytest.raises(UserError) as error:
            fetch()
        assert str(error.value) == expected and present(tmp_path) == []
    assert fetch() == 0 and zenodo.downloads() == 3


def test_what_a_killed_run_left_is_removed_an_hour_later(fetch, tmp_path):
    old, young = (tmp_path / "pretrained" / f".part-{name}" for name in ("old", "young"))
    for folder in (old, young):
        folder.mkdir()
        (folder / "half.zip").touch()
        os.utime(folder, (0, 0))
    os.utime(old / "half.zip", (time.time() - 3700,) * 2)
    assert fetch() == 0
    assert not old.exists() and young.exists()
