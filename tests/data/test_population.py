"""Levels for other shares of viewers: the shipped table, and its derivation from sheets whose spread is known."""

import ast

import numpy as np
import pandas as pd
import pytest

from common import population
from common.core.errors import UserError
from common.data.levels import SHARES, satisfied, sur_shift


@pytest.mark.parametrize("level", [1, 2, 3])
def test_the_shipped_table(level):
    """Nothing at the ratio that labels stand for; the more viewers are to be satisfied, the lower the QP."""
    shifts = [sur_shift(level, sur) for sur in np.linspace(0.05, 0.95, 181)]
    assert sur_shift(level, 0.75) == 0 and (np.diff(shifts) < 0).all()
    assert -8 < shifts[-1] < -1 and 5 < shifts[0] < 12
    if level > 1:  # judged against the level before, viewers agree more
        assert abs(sur_shift(level, 0.9)) < abs(sur_shift(level - 1, 0.9))


@pytest.mark.parametrize("sur", [0.04, 0.96, 75, -1, float("nan")])
def test_no_answer_where_the_samples_have_none(sur):
    with pytest.raises(UserError, match="expected a share from 0.05 to 0.95") as error:
        sur_shift(1, sur)
    assert "\n" not in str(error.value)


def test_satisfied_until_the_difference_is_seen():
    assert satisfied([20, 25, 25, 30], 25) == 0.25
    assert satisfied([20, 25, 25, 30], np.array([19, 24])).tolist() == [1, 0.75]


@pytest.fixture
def sheets(tmp_path):
    """Forty subjects evenly over forty QPs, the quartile at the label: a QP is a fortieth of the viewers."""
    labels = np.arange(12, 22).repeat(2)
    rows = [{"sequence_index": n, "jnd": label, "samples": str(list(range(label - 10, label + 30)))}
            for n, label in enumerate(labels, 1)]  # fmt: skip
    for place in ("1st", "2nd", "3rd"):
        pd.DataFrame(rows).to_csv(tmp_path / f"640x360_{place}.csv", index=False)
    return tmp_path


def test_the_table_is_that_of_the_samples(sheets, capsys):
    assert population.main([str(sheets)]) == 0
    text = capsys.readouterr().out
    assert "60 lower quartile, interpolated, rounded (halves upwards)" in text
    shifts = ast.literal_eval(text.split("SHIFTS = ")[1].rsplit("}", 1)[0] + "}")
    expected = [40 * (0.75 - share) for share in SHARES]
    assert [shifts[level] for level in (1, 2, 3)] == [pytest.approx(expected, abs=0.006)] * 3
    table = population.calibrate(population.read_levels(sheets)[1])
    # A quartile between two subjects is rounded to a whole QP, which is half a subject off.
    assert table["640x360"].tolist() == pytest.approx([share - 0.0125 for share in SHARES], abs=0.003)
    assert (table["normal, 640x360"] - table["asked"]).abs().max() > 0.05  # they are not spread normally
    assert (table["nearest"] < table["640x360"]).all()


def test_bad_sheets_are_one_line(sheets):
    def line(folder=sheets):
        with pytest.raises(UserError) as error:
            population.main([str(folder)])
        return str(error.value)

    assert "no label sheet of VideoSet" in line(sheets / "none")
    file = sheets / "640x360_2nd.csv"
    rows = file.read_text().splitlines()
    file.write_text("\n".join([rows[0], '1,12,"[12, 90]"', *rows[2:]]))
    assert "640x360_2nd.csv:2: samples are '[12, 90]'; expected a list of numbers" in line()
    file.write_text("\n".join(rows[:4]))
    assert "3 clips of 640x360 in its sheets; expected at least 10" in line()
