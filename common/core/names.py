"""Names of files: when two are the same, their order, and as text that a terminal or another system accepts."""

import re
import unicodedata
from pathlib import Path

PART = ".part-"
"""How the names of files start that are being written."""


def composed(name: str) -> str:
    """Return a name with its accents composed (Unicode's NFC), the form in which names are compared and ordered.

    The same name may come decomposed from macOS, from a table or from an archive.
    """
    return unicodedata.normalize("NFC", name)


def natural_key(name: str) -> tuple:
    """Return a sort key of a file name: digits compare as numbers (img2 before img10), letters without regard to case.

    Names that are equal so far (Img1 and img1, img1 and img01) follow in plain character order.
    """
    parts = re.findall(r"[0-9]+|[^0-9]", composed(composed(name).casefold()))
    return [("0", int(part)) if part[0] in "0123456789" else (part, 0) for part in parts], composed(name), name


def safe_stem(name: str) -> str:
    """Return the stem of a file name, of at most 40 ASCII letters, digits, - and _, so that any system accepts it."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "_" for c in composed(Path(name).stem))[:40]


def one_line(text: str) -> str:
    """Escape control characters, line ends and what is not UTF-8 in a text with a file's name, for a terminal."""
    escaped = {"Cc", "Cs", "Zl", "Zp"}
    return "".join(c.encode("unicode_escape").decode() if unicodedata.category(c) in escaped else c for c in text)


def shorten(text: str) -> str:
    """Cut the middle out of a text of more than 1,000 characters."""
    return text if len(text) <= 1000 else f"{text[:500]} ... {text[-500:]}"


def file_or_default(path: str | Path, name: str) -> Path:
    """Return `path` if it has the suffix of `name` or is a file of any suffix, else the file `name` in this folder."""
    path = Path(path)
    suffixes = {".h5", ".hdf5"} if name.endswith(".h5") else {Path(name).suffix}
    is_file = path.suffix and path.is_file() or path.suffix.lower() in suffixes and not path.is_dir()
    return path if is_file else path / name
