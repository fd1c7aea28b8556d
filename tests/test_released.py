"""Released weights: the registry, what a file is, and fetching from a local server that plays Zenodo."""

import errno
import hashlib
import http.server
import io
import json
import os
import re
import shutil
import stat
import struct
import threading
import time
import zipfile

import h5py
import numpy as np
import pytest

from common import released
from common.errors import UserError
from common.images import MTJND, TCSVT
from common.released import ICIP_2023, RELEASED, TCSVT_2024

LAYOUT = {  # of tests/golden/layouts.json
    released.AUTOENCODER: "Reconstruction",
    released.LAT: "LAT",
    released.REC: "REC",
    released.E2E_LAT: "E2ELAT",
    released.E2E_REC: "E2EREC",
    released.MJ_LAT: "MJLAT",
    released.MJ_REC: "MJREC",
    released.THREE_HEADS: "MT_3LJND",
    released.ONE_HEAD: "MT_1LJND_VA",
}


def write_hollow(layers, path):
    """A weight file of the right names and shapes, whose arrays were never written: a few KB, however large."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.encode() for layer, _ in layers]
        for layer, entries in layers:
            file.create_group(layer).attrs["weight_names"] = np.array([name.encode() for name, _ in entries], "S")
            for name, shape in entries:
                file[layer].create_dataset(name, shape, "float32")


@pytest.fixture(scope="module")
def contents(golden, tmp_path_factory):
    """{archive: {name in the zip: bytes}}: every released file, hollow, and what else an archive may hold."""
    file = tmp_path_factory.mktemp("hollow") / "weights.h5"
    hollow = {}
    for network, layout in LAYOUT.items():
        write_hollow(golden.layouts[layout]["layers"], file)
        hollow[network] = file.read_bytes()
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


def zipped(members):
    """The bytes of a zip file of `members`: {name or ZipInfo: bytes}."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


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
        return released.main(["fetch", "--zenodo", zenodo.url, "--folder", folder, "--record", *chosen])

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


# --- the registry ---


def test_the_registry_is_what_the_released_programs_read(golden):
    assert set(LAYOUT) == set(released.NETWORKS) == {entry.network for entry in RELEASED}
    assert set(LAYOUT.values()) == set(golden.layouts)
    for network, name in LAYOUT.items():
        layout = golden.layouts[name]
        shapes = [(layer, [tuple(shape) for _, shape in entries]) for layer, entries in layout["layers"] if entries]
        assert network.fingerprint == released.fingerprint(shapes), name
        assert network.parameters == layout["parameters"] == sum(np.prod(s) for _, some in shapes for s in some), name
        assert network.input is (MTJND if name.startswith("MT_") else TCSVT)
        assert list(network.input.shape) == layout["input"]
    assert len(RELEASED) == 23 and len({(entry.model, entry.level) for entry in RELEASED}) == 23
    names = [entry.name for entry in RELEASED if entry.name]
    assert len(set(names)) == len(names) == 21
    for entry in RELEASED:
        assert entry.archive is (ICIP_2023 if entry.model.startswith("MT_") else TCSVT_2024)
        assert entry.name is None or entry.level is None or f"JND{entry.level}" in entry.name


def test_the_page_for_people_names_every_file():
    page = (released.PRETRAINED / "README.md").read_text()
    for entry in RELEASED:
        row = next(line for line in page.splitlines() if re.match(rf"\|[^|]+\| {entry.model}\b", line))
        assert f"`{entry.name}`" in row if entry.name else "name not known" in row
        assert f"{entry.network.parameters:,}" in row and entry.network.program in row
        assert str(entry.archive.record) in page.split(f"- {row.split('|')[-2].strip()}: ")[1].splitlines()[0]
    for archive in released.ARCHIVES:
        assert archive.name in page and archive.page in page


# --- what a file is ---


def verify(path, capsys):
    code = released.main(["verify", str(path)])
    return code, capsys.readouterr().out.splitlines()


def test_real_files_are_recognised(weight_files, tmp_path, capsys):
    code, lines = verify(weight_files / "LATJND1.h5", capsys)
    assert (code, lines) == (0, ["LATJND1.h5: LAT, 9,783,225 parameters"])
    shutil.copy(weight_files / "JND1Reconstruction.h5", tmp_path / "new.h5")
    assert verify(tmp_path, capsys) == (0, ["new.h5: autoencoder, 2,887,363 parameters"])


def test_every_network_is_told_from_the_others(golden, tmp_path, capsys):
    for name, layout in golden.layouts.items():
        write_hollow(layout["layers"], tmp_path / f"{name}.h5")
    code, lines = verify(tmp_path, capsys)
    assert code == 0
    assert lines == [
        "E2ELAT.h5: E2E-LAT, 11,226,812 parameters",
        "E2EREC.h5: E2E-REC, 8,078,384 parameters",
        "LAT.h5: LAT, 9,783,225 parameters",
        "MJLAT.h5: MJ-LAT, 26,070,091 parameters",
        "MJREC.h5: MJ-REC, 13,886,928 parameters",
        "MT_1LJND_VA.h5: MT_1LJND_VA, 30,476,609 parameters",
        "MT_3LJND.h5: MT_3LJND or MT_3LJND_VA, 62,000,451 parameters",
        "REC.h5: REC, 8,078,384 parameters",
        "Reconstruction.h5: autoencoder, 2,887,363 parameters",
    ]


def test_files_that_are_wrong_are_named_one_by_one(golden, weight_files, tmp_path, capsys):
    real = (weight_files / "JND1Reconstruction.h5").read_bytes()
    (tmp_path / "a-cut.h5").write_bytes(real[: len(real) // 2])
    (tmp_path / "b-page.h5").write_bytes(b"<html>429</html>")
    write_hollow(golden.layouts["LAT"]["layers"][:-1], tmp_path / "c-other.h5")
    write_hollow(golden.layouts["REC"]["layers"], tmp_path / "sub" / "E2ERECJND2.h5")
    write_hollow(golden.layouts["LAT"]["layers"], tmp_path / "sub" / "LATJND3.h5")
    (tmp_path / ".part-1.h5").touch()
    code, lines = verify(tmp_path, capsys)
    assert code == 1 and len(lines) == 5
    assert lines[0].startswith("a-cut.h5: damaged or cut off")
    assert lines[1].startswith("b-page.h5: not an HDF5 file (16 bytes)")
    assert lines[2] == "c-other.h5: 23 layers with weights, the shapes are those of no released model"
    assert lines[3].startswith("sub/E2ERECJND2.h5: REC, 8,078,384 parameters, but its name is that of E2E-REC's file")
    assert lines[4] == "sub/LATJND3.h5: LAT, 9,783,225 parameters"
    assert verify(tmp_path / "a-cut.h5", capsys)[0] == 1


def test_nothing_to_verify_is_an_error(tmp_path, run):
    for path, reason in ((tmp_path, "no .h5 file in or below"), (tmp_path / "nowhere", "no such file or folder")):
        answer = run("-m", "common.weights", "verify", path)
        assert answer.returncode == 2 and answer.stdout == ""
        assert answer.stderr.startswith(f"error: {path}: {reason}") and answer.stderr.count("\n") == 1


def test_the_command_line(run, weight_files):
    answer = run("-m", "common.weights", "verify", weight_files)
    assert (answer.returncode, answer.stderr) == (0, "")
    assert "LATJND1.h5: LAT, 9,783,225 parameters\n" in answer.stdout
    answer = run("-X", "importtime", "-m", "common.weights", "--help")
    assert answer.returncode == 0 and "verify" in answer.stdout
    for heavy in ("keras", "pooch", "requests", "pandas", "tensorflow"):
        assert f"| {heavy}" not in answer.stderr.replace("|   ", "| ")


def test_list_says_what_is_there_and_what_is_missing(golden, tmp_path, capsys):
    write_hollow(golden.layouts["LAT"]["layers"], tmp_path / "deep" / "LATJND2.h5")
    write_hollow(golden.layouts["MT_3LJND"]["layers"], tmp_path / "best.h5")
    write_hollow(golden.layouts["REC"]["layers"], tmp_path / "mine.h5")
    (tmp_path / "MJREC.h5").touch()
    assert released.main(["list", "--folder", str(tmp_path)]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head == f"{tmp_path}: 3 of 23 released files"  # best.h5 counts as both that it may be
    rows = [" ".join(line.split()) for line in lines]
    assert "LAT JND1 LATJND1.h5 missing" in rows
    assert "LAT JND2 LATJND2.h5 deep/LATJND2.h5" in rows
    assert "MJ-REC MJREC.h5 does not fit, see below" in rows
    assert "MT_3LJND_VA (name not known) best.h5 (MT_3LJND or MT_3LJND_VA: their shapes are the same)" in rows
    assert sum(row.endswith("missing") for row in rows) == 19
    assert any(row.startswith("also here: MJREC.h5: not an HDF5 file") for row in rows)
    assert "also here: mine.h5: REC, 8,078,384 parameters" in rows
    assert not any(row.startswith("also here: best.h5") for row in rows)
    assert all(archive.page in rows[-1] for archive in released.ARCHIVES)
    with pytest.raises(UserError, match="no such folder"):
        released.main(["list", "--folder", str(tmp_path / "nowhere")])


# --- fetching ---


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
    assert released.main(["list", "--folder", str(folder)]) == 0
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
        (
            503,
            {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"},
            "the server has a problem (HTTP 503); try again after Wed, 21 Oct 2026 07:28:00 GMT",
        ),
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


def test_a_wrong_checksum(zenodo, refused):
    zenodo.hold(ICIP_2023, zenodo.answers[zenodo.file(ICIP_2023)][2], checksum="md5:" + 32 * "0")
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
        {"links": {"self": "http://elsewhere.example/a.zip"}},
        {"links": {"self": "file:///etc/passwd"}},
    ],
)
def test_a_record_that_is_not_understood(zenodo, refused, fields):
    zenodo.hold(ICIP_2023, b"", **fields)
    assert ": not the answer of Zenodo's REST API" in refused()
    assert zenodo.downloads() == 0


def test_a_record_without_the_archive(zenodo, refused):
    zenodo.hold(ICIP_2023, b"", key="v2.zip")
    assert f": the record holds other.pdf, v2.zip; expected {ICIP_2023.name}; look at {ICIP_2023.page}" in refused()
    zenodo.answers[zenodo.record(ICIP_2023)] = (200, {}, b"<html>Welcome</html>")
    assert ": not the answer of Zenodo's REST API" in refused()


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


# --- hostile archives ---


def member(name, mode=stat.S_IFREG | 0o644):
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, mode << 16
    info.compress_type = zipfile.ZIP_DEFLATED
    return info


OUTSIDE = "would land outside the folder"


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("../evil.h5", b"evil", OUTSIDE),
        ("a/../../evil.h5", b"evil", OUTSIDE),
        ("{tmp_path}/evil.h5", b"evil", OUTSIDE),
        ("..\\evil.h5", b"evil", OUTSIDE),
        ("C:evil.h5", b"evil", OUTSIDE),
        ("../evil.txt", b"evil", OUTSIDE),  # refused though it would not be unpacked
        ("evil\x1b[2J.h5", b"evil", "has an odd name"),
        (member("evil.h5", stat.S_IFLNK | 0o777), b"/etc/passwd", "is a link or a device"),
        (member("evil", stat.S_IFLNK | 0o777), b"..", "is a link or a device"),
        (member("evil.h5", stat.S_IFIFO | 0o644), b"", "is a link or a device"),
        ("bomb.h5", bytes(4 << 20), "unpacks from 0.0 MB to 4.2 MB"),
    ],
)
def test_a_hostile_member_condemns_the_archive(zenodo, refused, contents, tmp_path, name, content, reason):
    if isinstance(name, str):
        name = name.format(tmp_path=tmp_path)
    zenodo.hold(ICIP_2023, zipped({**contents[ICIP_2023], name: content}))
    message, name = refused(), getattr(name, "filename", name)
    assert message == f"{ICIP_2023.name}: member {name!r} {reason}; nothing was unpacked"


def patched(body, field, value, form="<I"):
    """A zip file whose last entry in the central directory says `value` at offset `field`."""
    body = bytearray(body)
    struct.pack_into(form, body, body.rindex(b"PK\1\2") + field, value)
    return bytes(body)


def test_archives_that_lie_or_are_damaged(zenodo, refused, contents):
    sound = zipped({**contents[ICIP_2023], "z.h5": bytes(range(256)) * 8})
    damaged = bytearray(sound)
    damaged[len(sound) // 2] ^= 1
    for body, reason in (
        (patched(sound, 24, 5000), "damaged, or no zip file ('z.h5' holds 2048 bytes and says 5000)"),
        (patched(sound, 24, 100), "damaged, or no zip file (Bad CRC-32 for file 'z.h5')"),
        (patched(sound, 24, 2 << 30), "member 'z.h5' unpacks from 0.0 MB to 2,147.5 MB"),
        (patched(patched(sound, 24, 2 << 30), 20, 2 << 30), "member 'z.h5' unpacks from 2,147.5 MB to 2,147.5 MB"),
        (patched(sound, 8, 1, "<H"), "member 'z.h5' is encrypted"),
        (bytes(damaged), "damaged, or no zip file ("),
        (b"<html>no zip</html>", "damaged, or no zip file (File is not a zip file)"),
        (zipped({"a/x.h5": b"1", "A/X.h5": b"2"}), "two members of one name"),
        (zipped({"x.h5": b"1", "x.h5/y.h5": b"2"}), "two members of one name"),
        (zipped({"inner.zip": b"", "README": b""}), "no .h5 file in it, it holds inner.zip, README"),
    ):
        zenodo.hold(ICIP_2023, body)
        message = refused()
        assert message.startswith(f"{ICIP_2023.name}: {reason}") and message.endswith("; nothing was unpacked")
