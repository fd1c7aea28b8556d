"""Fetch an archive of a Zenodo record, check it, and unpack its weight files; nothing half-done is ever kept."""

import contextlib
import hashlib
import io
import json
import lzma
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

from common.core.errors import UserError
from common.core.files import PART, atomic_write, check_disk_space, megabytes

ZENODO = "https://zenodo.org"
RECEIPT = "fetched.json"  # in an unpacked archive's folder: {file: SHA-256}

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


def bring(folder, archive, zenodo):
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
    check_disk_space(folder, size, f"{archive.name} takes", "give another --folder")
    print(f"{archive.name}: {megabytes(size)} from {url}", flush=True)
    target = folder / Path(archive.name).stem
    with tempfile.TemporaryDirectory(prefix=PART, dir=folder) as temporary:
        with _told_to_a_person(url, archive):
            downloader = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), chunk_size=1 << 20, **how)
            pooch.retrieve(url, known_hash=checksum, fname=archive.name, path=temporary, downloader=downloader)
        digests = unpack(Path(temporary) / archive.name, target)
    with atomic_write(target / RECEIPT) as temporary:
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
                check_disk_space(path.parent, total, f"what {path.name} holds takes", "give another --folder")
                for info in members:
                    with atomic_write(target / info.filename) as temporary, open(temporary, "wb") as file:
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
        return f"unpacks from {megabytes(info.compress_size)} to {megabytes(info.file_size)}"
    return None
