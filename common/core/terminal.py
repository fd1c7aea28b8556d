"""Lines of a table for a person, each about a file: on a terminal none is wider than it, elsewhere nothing is cut."""

import shutil
import sys
import unicodedata

from tqdm import tqdm

from common.core.names import one_line

LONGEST = 100  # columns for a name; a longer one moves what follows
SHORTEST = 20  # columns that a terminal has for a name, however little is left


class Listing:
    """Prints lines that start with a file's name; progress bars stay below them."""

    def __init__(self, names, room):
        """names: all that will come.  room: columns that what stands beside them needs."""
        self.columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        self.width = min(max((_width(one_line(name)) for name in names), default=0), LONGEST)
        if self.columns:
            self.width = min(self.width, max(self.columns - room, SHORTEST))

    def print(self, name, rest=""):
        """One line: the name, on a terminal without its middle where it is too long, and the rest as far as it fits."""
        name = one_line(name)
        if self.columns and _width(name) > self.width:
            half = (self.width - 1) // 2
            name = f"{_cut(name, self.width - 1 - half)}…{_cut(name[::-1], half)[::-1]}"
        line = (name + " " * (self.width - _width(name)) + rest).rstrip()
        if self.columns and _width(line) > self.columns:
            line = _cut(line, self.columns - 1) + "…"
        tqdm.write(line)


def _width(text):
    """How many columns a terminal takes for it."""
    return sum(map(_columns, text))


def _columns(character):
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):  # drawn onto the one before
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _cut(text, columns):
    """As much of the start as fits."""
    while _width(text) > columns:
        text = text[:-1]
    return text
