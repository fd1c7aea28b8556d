"""`python3 -m common.weights fetch|list|verify`: the weight files that came with the papers.

`fetch` downloads the two Zenodo archives and unpacks their weight files; `list` says what is there, for which model and
level, and what is missing; `verify PATH` says which model a weight file fits.

A file is recognised by the shapes of its arrays, in order, so its name does not matter.  Shapes tell neither the levels
of a model apart, nor the four autoencoder files, nor MT_3LJND from MT_3LJND_VA.  The values are not looked at.
"""

import argparse
import contextlib
import errno
import hashlib
import io
import json
import lzma
import os
import re
import shutil
import stat
import sys
import tempfile
import time
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from common import weights
from common.errors import UserError
from common.files import whole_file
from common.images import MTJND, TCSVT, InputFormat

FOLDER = Path(__file__).resolve().parent.parent / "pretrained"
"""Where weights go, unless the command line says otherwise."""

ZENODO = "https://zenodo.org"
RECEIPT = "fetched.json"  # in an unpacked archive's folder: {file: SHA-256}
PART = ".part-"  # how names of files being written start, here and in common.files

# What is unpacked; not what macOS adds, such as __MACOSX/._LATJND1.h5.
WANTED = re.compile(r"\.h5$|(?i:(^|/)(readme|licen[cs]e|copying|notice)[^/]*$)")
UNWANTED = re.compile(r"(^|/)(\._|__MACOSX/)")
LARGEST = 1 << 30  # bytes a file; the largest released network has 248 MB
RATIO = 100  # of bytes unpacked to packed; float32 weights hardly shrink


@dataclass(frozen=True)
class Archive:
    """A file of a Zenodo record."""

    record: int
    name: str

    @property
    def page(self):
        """Where a person finds it."""
        return f"{ZENODO}/records/{self.record}"


@dataclass(frozen=True)
class Network:
    """What the weights of a file load into.

    program: the file that builds it, relative to the project.
    parameters: how many numbers its weights are, those of BatchNormalization that do not train included.
    fingerprint: of the shapes of its weights, see `fingerprint`.
    input: the pictures it expects, in B, G, R order: 640 x 352, 0..255, or 480 x 270, 0..1.
    layer: the name of a layer that tells it from another network of the same fingerprint.
    """

    program: str
    parameters: int
    fingerprint: str
    input: InputFormat = TCSVT
    layer: str | None = None


@dataclass(frozen=True)
class Released:
    """One released weight file.

    model: as the papers write it, or "autoencoder".
    level: 1 to 3, None where the model has all three, or none.
    name: of the file; None where it is not known, so that only its shapes can tell.
    """

    model: str
    level: int | None
    name: str | None
    network: Network
    archive: Archive


TCSVT_2024 = Archive(11080876, "FALCON_IEEETCSVT2024_WP3_v1.0.zip")
ICIP_2023 = Archive(11081000, "FALCON_ICIP2023_WP3_V1.0.zip")
ARCHIVES = (TCSVT_2024, ICIP_2023)

_REC = "4aae9d5a483b3465cb1376a6ca34f876aab544c44f8a7205839e18ce00503ba7"
AUTOENCODER = Network(
    "common/autoencoder.py", 2_887_363, "448f0e92b25e123955e98fa6ff2c3fa4ea1733e0870426582b766ccd75364555"
)
LAT = Network("LAT.py", 9_783_225, "c58a70f2221f4037295648787816baba5967f53c223362c40f319f36f40da3a2")
REC = Network("REC.py", 8_078_384, _REC)
E2E_LAT = Network("E2ELAT.py", 11_226_812, "41cd1e1f704f4d17a8f3f394329eaa2e13621c9cc806fd5ab15a5158853b8530")
E2E_REC = Network("E2EREC.py", 8_078_384, _REC, layer="JNDImg")  # REC with its last deconvolution replaced
MJ_LAT = Network("MJLAT.py", 26_070_091, "c28594c4da8c0e6c53ab1aef2bf94d45d48d1590e0ac7d9629e68778446c15c4")
MJ_REC = Network("MJREC.py", 13_886_928, "d51431d53f5d5a0aea24b0b2fd4568e9a90f2021fbe97262950944d0ca2407b6")
THREE_HEADS = Network("MTJND.py", 62_000_451, "8129dafcb47aeaac38642b983625a51f0231c1c8229287361085ab1bc16350f4", MTJND)
ONE_HEAD = Network("MTJND.py", 30_476_609, "b3f42ebdec353e4627934416bbf60f9a15ca138bb2761a95d2a112b6f9f4fc77", MTJND)
NETWORKS = (AUTOENCODER, LAT, REC, E2E_LAT, E2E_REC, MJ_LAT, MJ_REC, THREE_HEADS, ONE_HEAD)

LEVELS = (1, 2, 3)
RELEASED = (
    *(Released("LAT", level, f"LATJND{level}.h5", LAT, TCSVT_2024) for level in LEVELS),
    *(Released("REC", level, f"RECJND{level}.h5", REC, TCSVT_2024) for level in LEVELS),
    *(Released("E2E-LAT", level, f"E2ELATJND{level}.h5", E2E_LAT, TCSVT_2024) for level in LEVELS),
    *(Released("E2E-REC", level, f"E2ERECJND{level}.h5", E2E_REC, TCSVT_2024) for level in LEVELS),
    Released("MJ-LAT", None, "MJLAT.h5", MJ_LAT, TCSVT_2024),
    Released("MJ-REC", None, "MJREC.h5", MJ_REC, TCSVT_2024),
    *(Released("autoencoder", level, f"JND{level}Reconstruction.h5", AUTOENCODER, TCSVT_2024) for level in LEVELS),
    Released("autoencoder", None, "ImgReconstruction.h5", AUTOENCODER, TCSVT_2024),
    Released("MT_3LJND", None, None, THREE_HEADS, ICIP_2023),
    *(Released("MT_1LJND_VA", level, f"MT_JND{level}_VA.h5", ONE_HEAD, ICIP_2023) for level in LEVELS),
    Released("MT_3LJND_VA", None, None, THREE_HEADS, ICIP_2023),
)


def fingerprint(layers):
    """The SHA-256 of the shapes of `layers`, which `common.weights.layout` gives, as JSON."""
    return hashlib.sha256(json.dumps([shapes for _, shapes in layers]).encode()).hexdigest()


def identify(path):
    """The Network that the weight file at `path` fits.  Raises UserError when it fits none, or is damaged."""
    layers = weights.layout(path)
    found = fingerprint(layers)
    fits = [network for network in NETWORKS if network.fingerprint == found]
    if not fits:
        raise UserError(f"{path}: {len(layers)} layers with weights, the shapes are those of no released model")
    names = {name for name, _ in layers}
    return next((network for network in fits if network.layer in names), fits[0])


def models(network):
    """The models whose weights load into `network`, for a person: "LAT", "MT_3LJND or MT_3LJND_VA"."""
    return " or ".join(dict.fromkeys(entry.model for entry in RELEASED if entry.network is network))


def describe(path, shown=None):
    """(the Network that the file at `path` fits, a line that says so), or (None, a line that says what is wrong).

    A file that has a released file's name and holds something else is wrong.  shown: what the line calls the file.
    """
    shown = shown or path.name
    try:
        network = identify(path)
    except UserError as error:
        return None, f"{shown}: {str(error).removeprefix(f'{path}: ')}"
    line = f"{shown}: {models(network)}, {network.parameters:,} parameters"
    for entry in RELEASED:
        if entry.name == path.name and entry.network is not network:
            return None, f"{line}, but its name is that of {entry.model}'s file; rename it or fetch it again"
    return network, line


def find_files(folder):
    """The .h5 files in and below `folder`, sorted; UserError where there is no such folder."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    # .part-: being written, or left by a process that was killed
    return sorted(path for path in folder.rglob("*.h5") if path.is_file() and not path.name.startswith(PART))


def verify(options):
    """Say of each file which model it fits; 1 when one fits none."""
    path = Path(options.path)
    if path.is_file():
        described = [describe(path)]
    else:
        if not path.exists():
            raise UserError(f"{path}: no such file or folder")
        described = [describe(file, file.relative_to(path)) for file in find_files(path)]
        if not described:
            raise UserError(f"{path}: no .h5 file in or below this folder")
    for _, line in described:
        print(line)
    return 0 if all(network for network, _ in described) else 1


def show(options):
    """Print each released file with where it lies, or that it is missing; then the other weight files."""
    folder = Path(options.folder)
    described = {path: describe(path, path.relative_to(folder)) for path in find_files(folder)}
    lines, present = [], 0
    for entry in RELEASED:
        places = [path for path, (network, _) in described.items() if _is(entry, path, network)]
        sound = [str(path.relative_to(folder)) for path in places if described[path][0]]
        present += bool(sound)
        where = ", ".join(sound) or ("does not fit, see below" if places else "missing")
        if entry.name is None and sound:
            where += f" ({models(entry.network)}: their shapes are the same)"
        level = f"JND{entry.level}" if entry.level else ""
        lines.append(f"{entry.model:<12} {level:<5} {entry.name or '(name not known)':<22} {where}".rstrip())
    print(f"{folder}: {present} of {len(RELEASED)} released files", *lines, sep="\n")
    for path, (network, line) in described.items():
        if not network or not any(_is(entry, path, network) for entry in RELEASED):
            print(f"also here: {line}")
    if present < len(RELEASED):
        print(f"the missing: python3 -m common.weights fetch, or {' and '.join(a.page for a in ARCHIVES)}")
    return 0


def _is(entry, path, network):
    """Whether the file at `path`, which fits `network`, stands for `entry`."""
    return entry.name == path.name if entry.name else entry.network is network


def fetch(options):
    """Bring the archives into the folder, say what is in them; 1 when a file fits no model or one is missing."""
    folder, code = Path(options.folder), 0
    for archive in ARCHIVES:
        if archive.record not in (options.record or [archive.record]):
            continue
        files = _there(folder, archive)
        if files:
            print(f"{archive.name}: there already, nothing to download")
        else:
            try:
                files = _bring(folder, archive, options.zenodo.rstrip("/"))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                raise UserError(f"{folder}: the disk is full; make room or give another --folder") from None
        described = [describe(path, path.relative_to(folder)) for path in files]
        for _, line in described:
            print(line)
        expected = [entry.name for entry in RELEASED if entry.archive is archive and entry.name]
        missing = [name for name in expected if name not in {path.name for path in files}]
        if missing:
            print(f"not in {archive.name}: {', '.join(missing)}")
        for name in expected:
            places = [str(path.relative_to(folder)) for path in find_files(folder) if path.name == name]
            if len(places) > 1:
                print(f"{name} lies in {len(places)} places, {', '.join(places)}; keep one, so that programs find it")
        code |= bool(missing) or not all(network for network, _ in described)
    return int(code)


def _there(folder, archive):
    """The weight files of `archive` that are in `folder`, sound and complete; otherwise an empty list."""
    target = folder / Path(archive.name).stem
    try:
        digests = json.loads((target / RECEIPT).read_text())
        files = [target / name for name in digests]
        sound = all(path.is_file() and _sha256(path) == digests[name] for path, name in zip(files, digests))
        return sorted(path for path in files if path.suffix == ".h5") if sound else []
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (ValueError, TypeError, AttributeError):  # not what `_bring` writes
        return []
    # Unpacked by hand: the names and shapes are all there is to go by.
    entries = [entry for entry in RELEASED if entry.archive is archive]
    fits = {path: describe(path)[0] for path in find_files(folder)} if folder.is_dir() else {}
    places = [[path for path in fits if fits[path] and _is(entry, path, fits[path])] for entry in entries]
    return sorted({path for some in places for path in some}) if all(places) else []


def _sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _bring(folder, archive, zenodo):
    """Download and unpack `archive`; returns its weight files.  Raises UserError, with nothing half-done kept."""
    import pooch

    pooch.get_logger().setLevel("WARNING")
    # Zenodo asks programs to name themselves: it has answered bare python-requests with 429 (pooch's issue 502).
    how = {"headers": {"User-Agent": f"pooch/{pooch.__version__} (https://www.fatiando.org/pooch)"}}
    record, answer = f"{zenodo}/api/records/{archive.record}", io.BytesIO()
    with _told_to_a_person(record, archive):
        pooch.HTTPDownloader(**how)(record, answer, None)
    url, checksum, size = _read_record(record, answer.getvalue(), archive, zenodo)

    folder.mkdir(parents=True, exist_ok=True)
    _sweep(folder)
    _check_room(folder, size, archive.name)
    print(f"{archive.name}: {_megabytes(size)} from {url}", flush=True)
    target = folder / Path(archive.name).stem
    with tempfile.TemporaryDirectory(prefix=PART, dir=folder) as temporary:
        with _told_to_a_person(url, archive):
            downloader = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), chunk_size=1 << 20, **how)
            pooch.retrieve(url, known_hash=checksum, fname=archive.name, path=temporary, downloader=downloader)
        digests = unpack(Path(temporary) / archive.name, target)
    with whole_file(target / RECEIPT) as temporary:
        temporary.write_text(json.dumps(digests, indent=1))
    return sorted(target / name for name in digests if name.endswith(".h5"))


def _read_record(url, answer, archive, zenodo):
    """(address, checksum, size in bytes) of the archive, from what Zenodo's REST API answers about its record."""
    try:
        files = {file["key"]: file for file in json.loads(answer)["files"]}
        if archive.name not in files:
            held = ", ".join(files) or "no file"
            raise UserError(f"{url}: the record holds {held}; expected {archive.name}; look at {archive.page}")
        file = files[archive.name]
        link, checksum, size = file["links"]["self"], file["checksum"], int(file["size"])
        if not re.fullmatch("md5:[0-9a-f]{32}|sha256:[0-9a-f]{64}", checksum):
            raise ValueError
        if not link.startswith(("https://", f"{zenodo}/")):  # a mirror on this machine may do with http
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(
            f"{url}: not the answer of Zenodo's REST API (files with key, size, checksum and link); download "
            f"{archive.name} by hand from {archive.page}"
        ) from None
    return link, checksum, size


@contextlib.contextmanager
def _told_to_a_person(url, archive):
    """Turn what goes wrong in a download from `url` into a UserError."""
    import requests

    kept = "nothing of it was kept; try again"
    try:
        yield
        return
    except requests.HTTPError as error:
        problem = _refusal(error.response)
    except requests.exceptions.ChunkedEncodingError:
        problem = f"the connection was cut in the middle; {kept}"
    except requests.RequestException as error:
        cause = error.args[0] if error.args else error
        reason = " ".join(str(getattr(cause, "reason", cause)).split()).rpartition(": ")[2]
        problem = f"cannot be reached ({reason}); check the network"
    except ValueError as error:
        if "does not match the known hash" in str(error):  # how pooch puts it
            problem = f"what arrived has not the checksum that the record gives; {kept}"
        else:
            problem = f"an answer that makes no sense ({error}); {kept}"
    raise UserError(f"{url}: {problem}, or download {archive.name} by hand from {archive.page}")


def _refusal(response):
    """What an HTTP status of 400 or above means, and what to do."""
    code, wait = response.status_code, response.headers.get("Retry-After", "")
    when = f"in {wait} seconds" if wait.isdigit() else f"after {wait}" if wait else "later"
    if code == 429:
        return f"too many requests (HTTP 429); try again {when}"
    if code >= 500:
        return f"the server has a problem (HTTP {code}); try again {when}"
    what = "there is no such thing" if code in (404, 410) else "the server refuses"
    return f"{what} (HTTP {code}); check the address"


def _sweep(folder):
    """Remove what a killed run left; younger than an hour, it may be another run at work."""
    for path in folder.rglob(f"{PART}*"):
        with contextlib.suppress(FileNotFoundError):  # the other run is done with it
            if all(time.time() - part.stat().st_mtime > 3600 for part in (path, *path.rglob("*"))):
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def _check_room(folder, size, what):
    free = shutil.disk_usage(folder).free
    if free < size:
        sizes = f"takes {_megabytes(size)}, {_megabytes(free)} are free"
        raise UserError(f"{folder}: {what} {sizes}; make room or give another --folder")


def _megabytes(size):
    return f"{size / 1e6:,.1f} MB"


def unpack(path, target):
    """Unpack the weight files, readmes and licences of the zip file `path` below the folder `target`.

    Returns {name: SHA-256}.  Every member is looked at, and those to unpack are read through, before anything is
    written.  Raises UserError when the archive is damaged, holds no weight file, or would write outside `target`, a
    link, two files of one name or more than it says.
    """
    from tqdm import tqdm

    try:
        with zipfile.ZipFile(path) as archive:
            members = _members(archive)
            total, digests = sum(info.file_size for info in members), {}
            with tqdm(total=2 * total, unit="B", unit_scale=True, desc="unpacking", disable=None, leave=False) as bar:

                def chunks(info):
                    with archive.open(info) as source:
                        while chunk := source.read(1 << 20):
                            bar.update(len(chunk))
                            yield chunk

                for info in members:
                    digest, size = hashlib.sha256(), 0
                    for chunk in chunks(info):
                        digest.update(chunk)
                        size += len(chunk)
                    if size != info.file_size:
                        raise zipfile.BadZipFile(f"{info.filename!r} holds {size} bytes and says {info.file_size}")
                    digests[info.filename] = digest.hexdigest()
                _check_room(path.parent, total, f"what {path.name} holds")
                for info in members:
                    with whole_file(target / info.filename) as temporary, open(temporary, "wb") as file:
                        file.writelines(chunks(info))
            return digests
    except _Refused as error:
        problem = str(error)
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, ValueError) as error:
        problem = f"damaged, or no zip file ({error})"
    raise UserError(f"{path.name}: {problem}; nothing was unpacked")


class _Refused(Exception):
    """What is wrong with an archive."""


def _members(archive):
    """The members of a zip file that are to be unpacked; _Refused when any member is dangerous."""
    for info in archive.infolist():
        problem = _danger(info)
        if problem:
            raise _Refused(f"member {info.filename[:200]!r} {problem}")
    files = [info for info in archive.infolist() if not info.is_dir()]
    members = [info for info in files if WANTED.search(info.filename) and not UNWANTED.search(info.filename)]
    if not any(info.filename.endswith(".h5") for info in members):
        raise _Refused(f"no .h5 file in it, it holds {', '.join(info.filename for info in files[:6]) or 'nothing'}")
    places = [PurePosixPath(info.filename.casefold()) for info in members]
    if len({*places}) < len(places) or not {*places}.isdisjoint(up for place in places for up in place.parents):
        raise _Refused("two members of one name")
    return members


def _danger(info):
    """Why a zip member must not be unpacked, or None."""
    name, kind = info.filename, stat.S_IFMT(info.external_attr >> 16)
    if not name.isprintable() or name != info.orig_filename:
        return "has an odd name"
    if name.startswith("/") or "\\" in name or ":" in name or ".." in name.split("/"):
        return "would land outside the folder"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):  # 0: made on a system without such kinds
        return "is a link or a device"
    if info.flag_bits & 1:
        return "is encrypted"
    if info.file_size > LARGEST or info.file_size > RATIO * max(info.compress_size, 1024):
        return f"unpacks from {_megabytes(info.compress_size)} to {_megabytes(info.file_size)}"
    return None


def main(arguments=None):
    """Run the command line; returns the exit code."""
    from common import cli

    style = {"formatter_class": cli.Help, "allow_abbrev": False}
    parser = argparse.ArgumentParser(prog="python3 -m common.weights", description=__doc__, **style)
    commands = parser.add_subparsers(dest="command", required=True)
    folder = {"default": str(FOLDER), "metavar": "F", "help": "the folder of weights"}

    command = commands.add_parser("fetch", help="download the released weights from Zenodo", **style)
    command.add_argument("--folder", **folder)
    command.add_argument(
        "--record", type=int, nargs="+", choices=[archive.record for archive in ARCHIVES], help="only these records"
    )
    command.add_argument(
        "--zenodo", default=os.environ.get("ZENODO_URL", ZENODO), metavar="URL", help="or a mirror; also $ZENODO_URL"
    )
    command = commands.add_parser("list", help="what is there, and what is missing", **style)
    command.add_argument("--folder", **folder)
    command = commands.add_parser("verify", help="which model a weight file fits", **style)
    command.add_argument("path", metavar="PATH", help="a weight file, or a folder to search for them")

    options = parser.parse_args(arguments)
    return {"fetch": fetch, "list": show, "verify": verify}[options.command](options)
