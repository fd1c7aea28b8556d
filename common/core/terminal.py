"""A table of files for a person: on a terminal no line is wider than it; in a file or a pipe nothing is cut."""

import shutil
import sys
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tqdm import tqdm

from common.core import messages
from common.core.names import one_line

LONGEST_NAME = 100  # columns; what follows a longer name moves to the right
SHORTEST_NAME = 20  # columns that a name gets on the narrowest terminal


def progress(items: Iterable | None = None, **settings: Any) -> tqdm:
    """Return a progress bar, which a terminal shows unless the program is quiet.  settings: Of tqdm."""
    return tqdm(items, disable=not shows_bars(), **settings)


def shows_bars() -> bool:
    """Return whether there is somebody to look at progress bars."""
    return messages.level > messages.QUIET and sys.stderr.isatty()


def print_error(error: Exception) -> None:
    """Print to stderr what is wrong with one of several files; progress bars stay below it."""
    tqdm.write(f"error: {one_line(str(error))}", file=sys.stderr)


def print_warning(path: str | Path, warning: str) -> None:
    """Print a warning of an input likewise, unless the program is quiet; "" is none."""
    if warning and messages.level > messages.QUIET:
        tqdm.write(f"warning: {one_line(str(path))}: {warning}", file=sys.stderr)


class Listing:
    """Prints lines that start with a file's name; progress bars stay below them."""

    def __init__(self, names: Iterable[str], room: int, heading: tuple[str, str] | None = None):
        """Set the width of the first column for all `names`; the rest of a line needs `room` columns.

        heading: Name and rest of the first line, which is printed with the second.
        """
        self.heading = heading
        self.columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        self.name_width = min(max((_width(one_line(name)) for name in names), default=0), LONGEST_NAME)
        if self.columns:
            self.name_width = min(self.name_width, max(self.columns - room, SHORTEST_NAME))

    def print(self, name: str, rest: str = "") -> None:
        """Print the name and the rest; on a terminal a long name loses its middle, and a long rest its end."""
        if self.heading:
            heading, self.heading = self.heading, None
            self.print(*heading)
        name = one_line(name)
        if self.columns and _width(name) > self.name_width:
            half = (self.name_width - 1) // 2
            name = f"{_cut(name, self.name_width - 1 - half)}…{_cut(name[::-1], half)[::-1]}"
        line = (name + " " * (self.name_width - _width(name)) + rest).rstrip()
        if self.columns and _width(line) > self.columns:
            line = _cut(line, self.columns - 1) + "…"
        tqdm.write(line)


def _width(text: str) -> int:
    """How many columns a terminal needs for the text."""
    return sum(map(_columns, text))


def _columns(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):  # drawn onto the character before
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _cut(text: str, columns: int) -> str:
    """The start of the text, as much as fits."""
    while _width(text) > columns:
        text = text[:-1]
    return text
