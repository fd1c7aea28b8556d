"""Fetch the archives of the released weights from Zenodo, check them, and unpack them; nothing half-done is ever kept.

pooch downloads and compares the checksum.  Two steps are ours: the record is read here, because pooch's DOIDownloader
knows neither mirrors nor checksums nor HTTP errors, and unpacked here, because pooch.Unzip trusts the archive.
"""

import contextlib
import errno
import lzma
import os
import re
import shutil
import stat
import zipfile
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pooch
import requests

from common.core.errors import UserError
from common.core.files import atomic_write, check_disk_space, megabytes, read_json, sha256, write_json
from common.core.locks import exclusive_lock
from common.core.messages import note
from common.core.names import PART
from common.core.terminal import progress, shows_bars
from common.models.released import ARCHIVES, RELEASED, ZENODO, Archive, describe, describe_all
from common.models.weight_search import find_files

RECEIPT = "fetched.json"  # in an unpacked archive's folder: {file: SHA-256}

# What is unpacked, without what macOS adds, such as __MACOSX/._LATJND1.h5.
WANTED = re.compile(r"(?!.*(^|/)(\._|__MACOSX/)).*(\.h5$|(?i:(^|/)(readme|licen[cs]e|copying|notice)[^/]*$))")
LARGEST = 1 << 30  # bytes a file; the largest released network has 248 MB
RATIO = 100  # of bytes unpacked to packed; float32 weights hardly shrink


def fetch(folder: Path, records: Collection[int] | None = None, zenodo: str = ZENODO) -> int:
    """Download what is missing of the archives, and print what is in them.

    Args:
        records: Numbers of the Zenodo records; None for all.
        zenodo: Address of Zenodo, or of a mirror.

    Returns:
        The exit code, 1 where a file fits no model or one is missing.
    """
    code = 0
    for archive in ARCHIVES:
        if records and archive.record not in records:
            continue
        files = _complete_files(folder, archive)
        if files:
            note(f"{archive.name}: there already, nothing to download")
        else:
            try:
                files = fetch_archive(archive, folder, zenodo.rstrip("/"))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                raise UserError(f"{folder}: the disk is full; make room or give another --folder") from None
        described = [describe(path, path.relative_to(folder)) for path in files]
        print(*(line for _, line in described), sep="\n")
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


def _complete_files(folder: Path, archive: Archive) -> list[Path]:
    """The weight files of `archive` that are in `folder`, when they are all there and sound; otherwise none."""
    target = archive.folder(folder)
    if (target / RECEIPT).exists():
        digests = read_json(target / RECEIPT)
        sound = isinstance(digests, dict) and all(
            (target / name).is_file() and sha256(target / name) == digest for name, digest in digests.items()
        )
        return sorted(target / name for name in digests if name.endswith(".h5")) if sound else []
    # Unpacked by hand: the names and shapes are all there is to go by.
    described = describe_all(folder) if folder.is_dir() else {}
    fits = {path: network for path, (network, _) in described.items() if network}
    entries = [entry for entry in RELEASED if entry.archive is archive]
    places = [[path for path, network in fits.items() if entry.matches(path, network)] for entry in entries]
    return sorted({path for some in places for path in some}) if all(places) else []


def fetch_archive(archive: Archive, folder: Path, zenodo: str) -> list[Path]:
    """Download and unpack an archive below `folder`; return its weight files.

    Raises:
        UserError: It fails; nothing half-done is kept.
    """
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
        note(f"{archive.name}: {megabytes(size)} from {url}")
        try:
            with _download_errors(url, archive):
                # Any: pooch's own type of a downloader does not fit its own downloaders.
                http: Any = pooch.HTTPDownloader(progressbar=shows_bars(), chunk_size=1 << 20, headers=headers)
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
    """Unpack the weight files, readmes and licences of a zip file below the folder `target`; return their names.

    Each is first read to its end and written, under a number, into the folder of the zip file; only then to `target`.

    Raises:
        UserError: The archive is damaged, holds no weight file, or would write outside `target`, a link, two files
            of one name or more than it says.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = _safe_members(archive)
            total = sum(info.file_size for info in members)
            check_disk_space(path.parent, total, f"what {path.name} holds takes", "give another --folder")
            for number, info in enumerate(progress(members, unit="file", desc="unpacking", leave=False)):
                with archive.open(info) as source, open(path.parent / str(number), "wb") as file:
                    shutil.copyfileobj(source, file, 1 << 20)  # at most the size that it says
                    if file.tell() != info.file_size:
                        raise ValueError(f"member {info.filename!r} is shorter than it says")
    except (
        zipfile.BadZipFile,
        zlib.error,
        lzma.LZMAError,
        EOFError,
        NotImplementedError,
        ValueError,
        OSError,
    ) as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):  # bzip2's, a seek before the start
            raise
        raise UserError(f"{path.name}: cannot be unpacked, nothing was: {error}") from None
    for number, info in enumerate(members):
        with atomic_write(target / info.filename) as temporary:
            os.replace(path.parent / str(number), temporary)
    return [info.filename for info in members]


def _safe_members(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """Return the members to unpack; raise ValueError where any member, wanted or not, is dangerous."""
    for info in archive.infolist():
        name, kind = info.filename, stat.S_IFMT(info.external_attr >> 16)
        if not name or not name.isprintable() or name != info.orig_filename:
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
