"""Plots as PNG files, the same on every machine."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from common.core import startup
from common.core.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@contextlib.contextmanager
def png_figure(target: Path, title: str, size: tuple[float, float]) -> "Iterator[Figure]":
    """Yield an empty figure; when the block ends well, save it as the PNG file `target`, whole or not at all.

    Names in its texts are drawn as they are: a `$` starts no formula, and what is not UTF-8 is escaped.

    The figure is made without pyplot and has no window.  So the user's backend (MPLBACKEND, matplotlibrc, a notebook's)
    has no effect on it and stays as it is, and nothing needs to be closed.

    Args:
        title: Stands above all axes.
        size: Width and height in inches; an inch has 100 pixels.
    """
    startup.import_matplotlib()
    from matplotlib.figure import Figure
    from matplotlib.text import Text

    figure = Figure(size, layout="constrained")
    figure.suptitle(title, fontsize=10)
    yield figure
    for text in figure.findobj(Text):
        if text.get_text():  # the labels of ticks come later, and may be formulas
            text.set_parse_math(False)
            text.set_text(text.get_text().encode("utf-8", "backslashreplace").decode())
    with atomic_write(target) as temporary:
        figure.savefig(temporary, format="png", dpi=100)
