"""The search that benchmarks.search compares a prediction with: ab-av1's rule, on curves of VMAF that are known."""

import pytest

from benchmarks.search import search_qp


@pytest.mark.parametrize(
    "curve, found, tried",
    [
        (lambda qp: 120 - qp, 27, [28, 19, 27]),  # 93 is not below 92.4, and 28 was not above 92
        (lambda qp: 120.05 - qp, 28, [28]),  # within 0.1 at the first try
        (lambda qp: 125.3 - qp, 33, [28, 37, 33]),  # within 0.4 at the third
        (lambda qp: 100 - qp / 10, 46, [28, 37, 46]),  # good enough everywhere
        (lambda qp: 90 - qp, 10, [28, 19, 10]),  # nowhere
        (lambda qp: 100 - 3 ** max(0, qp - 38), 39, [28, 37, 46, 38, 39, 40]),  # a cliff
    ],
)
def test_search(curve, found, tried):
    qps = []
    assert search_qp(lambda qp: qps.append(qp) or curve(qp), 92) == found and qps == tried
