import numpy as np
import pytest

from common.core.errors import UserError
from common.data.levels import median_baseline, nearest_qp, qp_mae


def test_the_nearest_qp_rounds_halves_upwards():
    assert [nearest_qp(level) for level in (0, 0.5, 1.5, 2.5, 29.49, np.float32(29.5))] == [0, 1, 2, 3, 29, 30]
    assert type(nearest_qp(np.float32(29.5))) is int
    assert nearest_qp([[0.2, 24.5], [50.4, 51.7]]).tolist() == [[0, 25], [50, 52]]
    assert nearest_qp([0.2, 24.5, 51.7, -3], clip=True).tolist() == [1, 25, 51, 1]
    assert nearest_qp(0, clip=True) == 1


@pytest.mark.parametrize("level", [np.nan, np.inf, [20, -np.inf]])
def test_a_level_that_is_no_number_is_refused(level):
    with pytest.raises(UserError, match="level (nan|-?inf): expected a QP, a number from 0 to 51"):
        nearest_qp(level)


def test_qp_error_and_the_median_baseline():
    assert qp_mae([25, 30], [26, 27]) == 2
    assert qp_mae([[25, 30], [27, 30]], [[26, 30], [24, 30]]).tolist() == [2, 0]
    assert median_baseline([20, 30, 90], [28, 31, 30]) == pytest.approx(1)  # the median, not the mean
    assert median_baseline([[20, 1], [30, 2], [90, 9]], [[28, 2], [32, 5]]).tolist() == [2, 1.5]
    with pytest.raises(ValueError):
        qp_mae([1, 2], [1])
    with pytest.raises(ValueError):
        qp_mae([], [])
