"""Damage that decoders pass over in silence: a JPEG whose data ends early, zero bytes where coded data should be.

dav1d, which decodes AVIF here, makes a picture of any coded data; libaom, OpenCV's decoder, notices data that does not
end where it should, so FFmpeg's libaom decodes an AVIF once more.  (AV1 has no checksum.)

libjpeg fills with gray what is missing before the end mark, and says so only in a counter that Pillow does not show.
So the file is decoded once more with random bytes before the end mark: pixels that change were not in the file.
"""

import io
import random
import re
import struct
import subprocess
import zlib
from pathlib import Path
from typing import NamedTuple

import ffmpeg
import numpy as np
from PIL import Image

from common.core.errors import UserError
from common.core.threads import filled_memory
from common.media import ffmpeg_process, tiff

ZEROS = bytes(64)  # coded data has no such run, but for flat areas; a disk or a transfer that failed leaves one
ENDS_IN_GRAY = (127, 128)  # of blocks that are missing
FILLING = bytes(random.Random(0).choices(range(255), k=4096))  # without 255, which starts a marker
END = b"\xff\xd9"
FAX = ("tiff_ccitt", "group3", "group4")
MISSING, ZEROED = "coded data is missing", "zero bytes instead of coded data"


def find_damage(path: Path, image: Image.Image) -> str | None:
    """Return what is wrong with the file of an image that was just decoded without an error, or None.

    A sound baseline JPEG costs a look at its bytes; one that is progressive, or ends in gray, is decoded twice.
    """
    if image.format in ("JPEG", "MPO"):
        return _damage_of_jpeg(path.read_bytes(), np.asarray(image))
    if image.format in ("AVIF", "WEBP"):
        data = path.read_bytes()
        exif = image.info.get("exif", b"").removeprefix(b"Exif\0\0")  # may hold zeros; in an AVIF it is in the same box
        data, place = data.replace(exif, b"") if exif else data, data.find(b"mdat") - 4
        if image.format == "WEBP":  # flat areas of a VP8 are short runs
            return ZEROED if bytes(max(len(ZEROS), len(data) // 8)) in data else None
        size = int.from_bytes(data[place : place + 4], "big")
        if place > 0 and ZEROS in data[place + 8 : place + size if size > 8 else None]:
            return ZEROED
        return _damage_of_av1(path)
    if image.format == "JPEG2000":  # what is empty in flat areas is a zero byte too
        coded = path.read_bytes().partition(b"\xff\x4f\xff\x51")[2]
        return ZEROED if bytes(max(1024, len(coded) // 8)) in coded else None
    if image.format == "PNG":
        return _damage_of_png(path, has_palette=image.mode == "P")
    if image.format == "GIF":
        return _damage_of_gif(path.read_bytes())
    with open(path, "rb") as file:
        header = file.read(34)
    if image.format == "TIFF":
        if header[2] == 43 and header[4:8] != b"\x08\0\0\0":  # the size of its offsets, which Pillow does not read
            return "its header is not that of a BigTIFF"
        if not tiff.is_complete(image.tag_v2, path.stat().st_size):  # pyright: ignore[reportAttributeAccessIssue]  of TIFFs
            return MISSING
        if image.info.get("compression") in FAX:  # libtiff leaves rows that are missing as they are
            with filled_memory(random.randrange(1, 256)), Image.open(path, formats=["TIFF"]) as again:
                return None if again.tobytes() == image.tobytes() else MISSING
    if image.format == "BMP":
        start, size = struct.unpack_from("<10xII", header)
        bits, packing = (header[28], header[30]) if size >= 40 else (header[24], 0)
        if start < 14 + size:
            return "its pixels would start within its header"
        rows = (image.width * bits + 31) // 32 * 4 * image.height  # each fills whole words
        return MISSING if packing in (0, 3) and path.stat().st_size < start + rows else None
    return None


def _damage_of_gif(data: bytes) -> str | None:
    """Look for what stands before the first frame and is no extension: Pillow skips it, and palettes may have moved."""
    place = 13 + (data[10] >> 7) * 3 * (2 << (data[10] & 7))
    while data[place : place + 1] == b"!":
        place += 2
        while data[place]:
            place += 1 + data[place]
        place += 1
    return None if data[place : place + 1] == b"," else "unknown bytes before its first frame"


def _damage_of_png(path: Path, has_palette: bool) -> str | None:
    """Compare the checksums of the chunks that make the image; Pillow skips those of its coded data."""
    kinds = set()
    with open(path, "rb") as file:
        file.seek(8)
        while b"IEND" not in kinds and (head := file.read(8)):
            size, kind = int.from_bytes(head[:4], "big"), head[4:]
            kinds.add(kind)
            if not kind[:1].isupper():
                file.seek(size + 4, 1)
            elif kind not in (b"IHDR", b"PLTE", b"IDAT", b"IEND"):
                return f"an unknown chunk {kind.decode(errors='replace')}"
            elif zlib.crc32(file.read(size), zlib.crc32(kind)) != int.from_bytes(file.read(4), "big"):
                return "a wrong checksum"
    return "its palette is missing" if has_palette and b"PLTE" not in kinds else None


def _damage_of_av1(path: Path) -> str | None:
    """Decode the first frame of an AVIF by libaom; without an FFmpeg that has libaom, nothing is noticed."""
    # By its standard input, as a file, so that no name matters.
    graph = ffmpeg.input("/dev/stdin", format="mov", vcodec="libaom-av1", protocol_whitelist="file")
    graph = graph.output("-", format="null", map="0:v", vframes=1)
    try:
        with open(path, "rb") as file, ffmpeg_process.start(graph, stdin=file, stderr=subprocess.PIPE) as process:
            try:
                log = process.communicate(timeout=ffmpeg_process.TIMEOUT)[1]
            finally:
                process.kill()
    except (UserError, subprocess.TimeoutExpired):
        return None
    return "a corrupt frame" if b"Corrupt frame detected" in log else None


class _Scan(NamedTuple):
    """Where the coded data of a scan of a JPEG lies, and whether a flat area could be a run of zero bytes in it."""

    start: int
    end: int
    flat_is_zeros: bool


def _damage_of_jpeg(data: bytes, pixels: np.ndarray) -> str | None:
    scans, complete = _scans(data)
    if not complete:
        return MISSING
    last, flat = scans[-1].end if scans else 0, (pixels == pixels[0, 0]).all()

    def holds_all(end: int, next_scan: int) -> bool:
        """Whether the pixels stay where random bytes stand from `end` of a scan on, up to the next one."""
        try:
            with Image.open(io.BytesIO(data[:end] + FILLING + data[next_scan:last] + END), formats=["JPEG"]) as image:
                return np.array_equal(np.asarray(image), pixels)
        except OSError:
            return False

    for start, end, flat_is_zeros in scans:
        used = start + len(data[start:end].rstrip(b"\0"))
        zeros_within, zeros_behind = ZEROS in data[start:used], end - used >= len(ZEROS)
        if zeros_within and not flat_is_zeros:
            return ZEROED
        if zeros_behind and holds_all(used, end):  # some writers add them
            zeros_behind = False
        else:
            if zeros_behind and not flat_is_zeros:
                return ZEROED
            ends_in_gray = end == last and np.isin(pixels[-1, -1], ENDS_IN_GRAY).all()
            progressive = end == last and len(scans) > 1
            if (zeros_within or zeros_behind or ends_in_gray or progressive) and not holds_all(end, end):
                return MISSING
            used = end
        if (zeros_within or zeros_behind) and not flat and holds_all(used - len(ZEROS), end):
            return ZEROED
        marks = [mark[0] & 7 for mark in re.findall(rb"\xff([\xd0-\xd7])", data[start:end])]
        if marks != [number % 8 for number in range(len(marks))]:
            return MISSING
    return None


def _scans(data: bytes) -> tuple[list[_Scan], bool]:
    """The scans of a JPEG, up to its end mark; and whether they hold each coefficient to its last bit."""
    scans, place, progressive, shortest, left = [], 2, False, {}, {}
    while 0 < place < len(data) - 3 and data[place] == 0xFF and data[place + 1] != 0xD9:
        mark, size = data[place + 1], int.from_bytes(data[place + 2 : place + 4], "big")
        segment = data[place + 4 : place + 2 + size]
        if mark == 0xC4:  # Huffman tables: class and number, how many codes of 1 to 16 bits, their symbols
            while len(segment) > 17:
                shortest[segment[0]] = segment[17]  # the symbol of the code of zeros only
                segment = segment[17 + sum(segment[1:17]) :]
        if mark in (0xC0, 0xC1, 0xC2, 0xC9, 0xCA):  # the frame
            progressive, left = mark in (0xC2, 0xCA), {component: {*range(64)} for component in segment[6::3]}
        place += 1 if mark == 0xFF else 2 + size
        if mark == 0xDA:
            given = range(segment[-3], segment[-2] + 1) if progressive else range(64)
            if not progressive or segment[-1] & 15 == 0:  # else bits are still to come
                for component in segment[1:-3:2]:
                    left.get(component, set()).difference_update(given)
            # Flat is: no difference of means, then the end of the block.  A scan of means only has no ends of blocks.
            ends_first = not any(shortest.get(0x10 | table & 15) for table in segment[2:-3:2])
            found = re.compile(rb"\xff[^\x00\xd0-\xd7]").search(data, place)
            end = found.start() if found else len(data)
            scans.append(_Scan(place, end, segment[-3] == 0 if progressive else ends_first))
            place = end
    return scans, not any(left.values())
