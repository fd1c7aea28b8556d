"""TIFFs by their tags: which kinds are read, and what Pillow needs to be told of them.

A kind that is not in the table below is refused by name: Pillow reads some of them wrongly and without a word.
libtiff, which decodes for it, goes on after some damage, and only prints a line on standard error.  Here it tells us,
where the system lets us find it (Linux).
"""

import contextlib
import ctypes
import functools
import math
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import TiffImagePlugin

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR = 0, 1, 2, 3, 5, 6
BITS = {
    WHITE_IS_ZERO: (1, 2, 4, 8, 12, 16),
    BLACK_IS_ZERO: (1, 2, 4, 8, 12, 16),
    RGB: (8, 16),
    PALETTE: (1, 2, 4, 8),
    CMYK: (8, 16),
    YCBCR: (8,),
}
"""{colour (the tag PhotometricInterpretation): bits a sample} that are read."""
NAMES = ("gray (white is zero)", "gray", "RGB", "palette", "mask", "CMYK", "YCbCr", "", "CIELab")
SAMPLE_FORMATS = {2: "signed", 3: "floating-point"}
HEADER = 8  # bytes
_heard = threading.local()


def unread_kind(path: Path) -> str | None:
    """Return the name of the kind of a TIFF that Pillow does not identify; None where the file is none, or damaged."""
    try:
        with open(path, "rb") as file:
            header = file.read(16)
            if header[:4] == b"MM\0+":
                return _named("big-endian BigTIFF")
            if header[:4] not in (b"II*\0", b"MM\0*", b"II+\0"):
                return None
            tags = TiffImagePlugin.ImageFileDirectory_v2(header if header[2] == 43 else header[:8])
            file.seek(tags.next)
            tags.load(file)
            return _name(tags)
    except Exception:  # broken bytes raise nearly anything
        return None


def unknown_kind(tags: TiffImagePlugin.ImageFileDirectory_v2) -> str | None:
    """Return the name of a TIFF's kind where Pillow may read it wrongly, else None."""
    if tags.get(254, 0) & 1 and tags.next:  # cameras and scanners write one before the image
        return _named("its first page is a thumbnail")
    bits, colour, samples = tags.get(258, (1,)), tags.get(262, -1), tags.get(277, 1)
    planar, formats, packed = tags.get(284, 1) == 2, set(tags.get(339, (1,))) - {4}, tags.get(259, 1) != 1
    known = (
        set(bits) <= set(BITS.get(colour, ()))
        and len(set(bits)) == 1
        and formats <= {1}
        and not (planar and samples not in {RGB: (3, 4), CMYK: (4,)}.get(colour, (1,)))
        and not (planar and colour == CMYK and 16 in bits and not packed)
        and (colour != YCBCR or packed)  # its colours may be subsampled
        and (colour != CMYK or tags.get(332, 1) == 1)  # other inks
        and tags.get(32997, 1) == tags.get(32998, 1) == 1  # of a volume
    )
    return None if known else _name(tags)


def is_complete(tags: TiffImagePlugin.ImageFileDirectory_v2, file_size: int) -> bool:
    """Return whether all strips or tiles of a TIFF lie within a file of so many bytes."""
    width, height, tiled = tags[256], tags[257], 322 in tags
    across, down = (tags[322], tags[323]) if tiled else (width, min(tags.get(278, height), height))
    due = math.ceil(width / across) * math.ceil(height / down) * (tags.get(277, 1) if tags.get(284) == 2 else 1)
    places, sizes = (tags.get(tag, ()) for tag in ((324, 325) if tiled else (273, 279)))
    within = [HEADER <= place and place + size <= file_size for place, size in zip(places, sizes)]
    return len(within) >= due and all(within)


def _name(tags: TiffImagePlugin.ImageFileDirectory_v2) -> str:
    bits, colour, samples = tags.get(258, (1,)), tags.get(262, -1), tags.get(277, 1)
    name = NAMES[colour] if 0 <= colour < len(NAMES) else ""
    words = [f"{'/'.join(map(str, dict.fromkeys(bits)))}-bit"]
    words += [SAMPLE_FORMATS[one] for one in tags.get(339, ()) if one in SAMPLE_FORMATS][:1]
    words += [name or f"colour {colour}", f"{samples} sample{'s' * (samples != 1)} a pixel"]
    words += ["in planes"] * (tags.get(284) == 2) + ["big-endian"] * (tags.prefix == b"MM")
    if (compression := tags.get(259, 1)) not in TiffImagePlugin.COMPRESSION_INFO:
        words.append(f"compression {compression}")
    return _named(", ".join(words))


def _named(kind: str) -> str:
    return f"a TIFF of a kind that is not read ({kind})"


def correct_before_loading(image: TiffImagePlugin.TiffImageFile) -> None:
    """Tell Pillow what it overlooks: turned rows, 16 bits in planes, colour maps of 0 to 255 instead of 65535."""
    tags = image.tag_v2
    if tags.get(274, 1) > 4:
        image.filename = ""  # else its rows are mapped into memory with the width that they have once they are turned
    if tags.get(284) == 2 and set(tags.get(258, ())) == {16} and tags.get(259, 1) == 1:
        order = "B" if tags.prefix == b"MM" else "L"
        arguments = [tuple(tile.args or ()) for tile in image.tile]
        tiles = zip(image.tile, arguments)
        image.tile = [tile._replace(args=(f"{mode};16{order}", *rest)) for tile, (mode, *rest) in tiles]
    colours = tags.get(320)
    if image.mode == "P" and colours and max(colours) < 256:
        image.putpalette(np.reshape(colours, (3, -1)).T.astype(np.uint8).tobytes())


def gray_16_bits(samples: np.ndarray, tags: TiffImagePlugin.ImageFileDirectory_v2) -> np.ndarray:
    """Return the samples that Pillow gives of a gray TIFF of 12 or 16 bits as 16 bits, 0 black."""
    samples = samples << 16 - tags.get(258, (16,))[0]
    return ~samples if tags.get(262) == WHITE_IS_ZERO else samples


@contextlib.contextmanager
def listen() -> Iterator[Callable[[], str | None]]:
    """Let the block call the function that it is given: what is damaged in what this thread has decoded, or None."""
    _set_handlers()
    _heard.damage = None
    yield lambda: _heard.damage


@ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)
def _error(module: bytes | None, form: bytes, values: int) -> None:
    _heard.damage = getattr(_heard, "damage", None) or f"libtiff, {(module or b'').decode(errors='replace')}"


@ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)
def _warning(module: bytes | None, form: bytes, values: int) -> None:
    if re.match(rb"Fax|JPEGLib|LZW|ZIP|PackBits", module or b""):  # others are of tags that nobody needs
        _error(module, form, values)


@functools.cache
def _set_handlers() -> None:
    """Set libtiff's handlers for the whole process: they are not set by thread, but called in the one that decodes."""
    try:
        with open("/proc/self/maps") as maps:
            paths = set(re.findall(r"/\S*libtiff[^/\s]*\.so\S*", maps.read()))
        for path in paths:
            library = ctypes.CDLL(path)
            library.TIFFSetErrorHandler(_error)
            library.TIFFSetWarningHandler(_warning)
    except (OSError, AttributeError):  # libtiff is part of another file, or this is no Linux
        pass
