"""Names of files: their order, and how a terminal or another system takes them."""

import re
import sys
import unicodedata
from pathlib import Path


def natural_key(name):
    """Sort key of a file name: digits compare as numbers (img2 before img10), letters without regard to case.

    Names that are equal so far (Img1 and img1, img1 and img01) follow in plain character order.
    """
    parts = re.findall(r"[0-9]+|[^0-9]", name.casefold())
    return [("0", int(part)) if part[0] in "0123456789" else (part, 0) for part in parts], name


def safe_stem(name):
    """The stem of a file name as far as any system takes it."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "_" for c in Path(name).stem)[:40]


def printable(name):
    """A file name that need not be Unicode, as text that any terminal takes."""
    return name.encode(sys.stdout.encoding or "utf-8", "backslashreplace").decode(sys.stdout.encoding or "utf-8")


def one_line(text):
    """Text, such as a file's name, as any terminal shows it, in one line: control characters and no UTF-8 escaped."""
    hidden = {"Cc", "Cs", "Zl", "Zp"}
    return "".join(c.encode("unicode_escape").decode() if unicodedata.category(c) in hidden else c for c in text)
