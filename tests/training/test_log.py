"""`train --resume` deletes no row of a log that it cannot explain."""

import re

import pytest

from common.core.errors import UserError
from common.training.runs import trim_log

ROWS = ["epoch;loss;val_loss", "0;3.5;4.5", "1;2.5;3.5", "2;2.25;3.75", "3;2.0;3.25"]
BEST = (2, 3.5)


def trimmed(tmp_path, text, epochs=3):
    log = tmp_path / "log.csv"
    log.write_bytes(text)
    try:
        trim_log(log, epochs, BEST)
    except UserError as error:
        assert log.read_bytes() == text
        return re.sub(r".*log\.csv", "log.csv", str(error))
    return log.read_bytes()


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r\r\n"])
@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("cut", ["", "3", "3;2.0;", "3;2.0;3.2"])
def test_rows_before_the_state_are_kept_whatever_their_line_ends(end, last, cut, tmp_path):
    kept = end.join(ROWS[:4])
    tail = end if last else ""
    text = kept + (end + cut if cut else tail)
    assert trimmed(tmp_path, text.encode()) == (kept + (end if last or cut else "\n")).encode()


def test_epochs_after_the_state_go(tmp_path):
    text = "".join(f"{row}\r\n" for row in ROWS)
    for epochs in (2, 3, 4):
        assert trimmed(tmp_path, text.encode(), epochs).decode().splitlines() == ROWS[: epochs + 1]


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        ([*ROWS, *ROWS[1:]], "log.csv:6: no row"),  # a second training's
        ([*ROWS[:2], "remark", *ROWS[2:]], "log.csv:3: no row"),
        ([*ROWS, "7;1;1"], "log.csv:6: no row"),
        ([*ROWS, "4;2.0"], "log.csv:6: no row"),
        ([*ROWS, "4;2,0;1,5"], "log.csv:6: no row"),
        ([ROWS[0].replace(";", ","), *ROWS[1:]], "log.csv: not the log of this training"),
    ],
)
def test_rows_that_cannot_be_explained_are_refused(rows, line, tmp_path):
    said = trimmed(tmp_path, "".join(f"{row}\n" for row in rows).encode())
    assert said.startswith(line) and said.endswith("--csv_log_path")
