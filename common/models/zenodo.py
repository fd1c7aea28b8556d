"""Fetch an archive of a Zenodo record, check it, and unpack its weight files; nothing half-done is ever kept.

pooch downloads and compares the checksum.  Two steps are ours: the record is read here, because pooch's DOIDownloader
knows neither mirrors nor checksums nor HTTP errors, and unpacked here, because pooch.Unzip trusts the archive.
"""

import contextlib
import lzma
import os
import re
import shutil
import stat
import sys
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from tqdm import tqdm

from common.core.errors import UserError
from common.core.files import PART, atomic_write, check_disk_space, megabytes, sha256, write_json
from common.core.locks import exclusive_lock

ZENODO = "https://zenodo.org"
RECEIPT = "fetched.json"  # in an unpacked archive's folder: {file: SHA-256}

# What is unpacked, without what macOS adds, such as __MACOSX/._LATJND1.h5.
WANTED = re.compile(r"(?!.*(^|/)(\._|__MACOSX/)).*(\.h5$|(?i:(^|/)(readme|licen[cs]e|copying|notice)[^/]*$))")
LARGEST = 1 << 30  # bytes a file; the largest released network has 248 MB
RATIO = 100  # of bytes unpacked to packed; float32 weights hardly shrink


@dataclass(frozen=True)
class Archive:
    """A file of a Zenodo record."""

    record: int
    name: str

    @property
    def page(self) -> str:
        """Where a person finds it."""
        return f"{ZENODO}/records/{self.record}"

    def folder(self, parent: Path) -> Path:
        """Where it is unpacked."""
        return parent / Path(self.name).stem


def fetch_archive(archive: Archive, folder: Path, zenodo: str) -> list[Path]:
    """Download and unpack an archive below `folder`; returns its weight files.

    Args:
        zenodo: address of Zenodo, or of a mirror.
    Raises:
        UserError: with nothing half-done kept.
    """
    import pooch
    import requests

    pooch.get_logger().setLevel("WARNING")
    # Zenodo asks programs to name themselves: it has answered bare python-requests with 429 (pooch's issue 502).
    headers = {"User-Agent": f"pooch/{pooch.__version__} (https://www.fatiando.org/pooch)"}
    target, temporary = archive.folder(folder), archive.folder(folder).with_name(f"{PART}{archive.name}")
    with exclusive_lock(folder / f".lock-{archive.name}", "another run fetches the same archive; wait for it"):
        shutil.rmtree(temporary, ignore_errors=True)  # what a killed run left
        address = f"{zenodo}/api/records/{archive.record}"
        with _download_errors(address, archive):
            response = requests.get(address, headers=headers, timeout=30)
            response.raise_for_status()
        url, checksum, size = _read_record(response, archive, zenodo)
        check_disk_space(folder, size, f"{archive.name} takes", "give another --folder")
        print(f"{archive.name}: {megabytes(size)} from {url}", flush=True)
        try:
            with _download_errors(url, archive):
                # Any: pooch's own type of a downloader does not fit its own downloaders.
                http: Any = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), chunk_size=1 << 20, headers=headers)
                pooch.retrieve(url, checksum, archive.name, temporary, downloader=http)
            names = unpack(temporary / archive.name, target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        write_json(target / RECEIPT, {name: sha256(target / name) for name in names})
    return sorted(target / name for name in names if name.endswith(".h5"))


def _read_record(response, archive: Archive, zenodo: str) -> tuple[str, str, int]:
    """(address, checksum, size in bytes) of the archive, from what Zenodo's REST API says of its record."""
    try:
        files = {file["key"]: file for file in response.json()["files"]}
        if archive.name not in files:
            held = ", ".join(files) or "no file"
            raise UserError(f"{response.url}: the record holds {held}; expected {archive.name}; look at {archive.page}")
        file = files[archive.name]
        url, checksum, size = file["links"]["self"], file["checksum"], int(file["size"])
        # A mirror on this machine need not encrypt; pooch would take a missing checksum for one that matches.
        if not url.startswith(("https://", f"{zenodo}/")) or not re.fullmatch("(md5|sha256):[0-9a-f]{32,64}", checksum):
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(
            f"{response.url}: not the answer of Zenodo's REST API (files with key, size, checksum and link); download "
            f"{archive.name} by hand from {archive.page}"
        ) from None
    return url, checksum, size


@contextlib.contextmanager
def _download_errors(url: str, archive: Archive) -> Iterator[None]:
    """Turn what goes wrong in a download from `url` into a UserError."""
    import requests

    try:
        yield
        return
    except requests.RequestException as error:
        cause = error.args[0] if error.args else error
        problem = " ".join(str(getattr(cause, "reason", cause)).split()).rpartition(": ")[2]
        if error.response is not None:
            wait = error.response.headers.get("Retry-After")
            problem = (
                f"HTTP {error.response.status_code} {error.response.reason}{f', Retry-After {wait}' if wait else ''}"
            )
    except ValueError as error:  # pooch's, of the checksum
        problem = str(error)
    advice = f"check the network, try again later, or download {archive.name} by hand from {archive.page}"
    raise UserError(f"{url}: {problem}; nothing was kept; {advice}")


def unpack(path: Path, target: Path) -> list[str]:
    """Unpack the weight files, readmes and licences of a zip file below the folder `target`; returns their names.

    They are read through, and written beside the zip file under numbers of ours, before anything reaches `target`.

    Raises:
        UserError: when the archive is damaged, holds no weight file, or would write outside `target`, a link, two files
            of one name or more than it says.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = _safe_members(archive)
            total = sum(info.file_size for info in members)
            check_disk_space(path.parent, total, f"what {path.name} holds takes", "give another --folder")
            for number, info in enumerate(tqdm(members, unit="file", desc="unpacking", disable=None, leave=False)):
                with archive.open(info) as source, open(path.parent / str(number), "wb") as file:
                    shutil.copyfileobj(source, file, 1 << 20)  # at most the size that it says
                    if file.tell() != info.file_size:
                        raise ValueError(f"member {info.filename!r} is shorter than it says")
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, ValueError) as error:
        raise UserError(f"{path.name}: cannot be unpacked, nothing was: {error}") from None
    for number, info in enumerate(members):
        with atomic_write(target / info.filename) as temporary:
            os.replace(path.parent / str(number), temporary)
    return [info.filename for info in members]


def _safe_members(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """The members to unpack; raises ValueError where any member, wanted or not, is dangerous."""
    for info in archive.infolist():
        name, kind = info.filename, stat.S_IFMT(info.external_attr >> 16)
        if not name.isprintable() or name != info.orig_filename:
            problem = "has an odd name"
        elif name.startswith("/") or "\\" in name or ":" in name or ".." in name.split("/"):
            problem = "would land outside the folder"
        elif kind not in (0, stat.S_IFREG, stat.S_IFDIR):  # 0: made on a system without such kinds
            problem = "is a link or a device"
        elif info.flag_bits & 1:
            problem = "is encrypted"
        elif info.file_size > LARGEST or info.file_size > RATIO * max(info.compress_size, 1024):
            problem = f"unpacks from {megabytes(info.compress_size)} to {megabytes(info.file_size)}"
        else:
            continue
        raise ValueError(f"member {name[:200]!r} {problem}")
    names = [info.filename for info in archive.infolist() if not info.is_dir()]
    members = [info for info in archive.infolist() if not info.is_dir() and WANTED.match(info.filename)]
    if not any(info.filename.endswith(".h5") for info in members):
        raise ValueError(f"no .h5 file in it, it holds {', '.join(names[:6]) or 'nothing'}")
    places = [PurePosixPath(info.filename.casefold()) for info in members]
    if len({*places}) < len(places) or not {*places}.isdisjoint(up for place in places for up in place.parents):
        raise ValueError("two members of one name")
    return members
