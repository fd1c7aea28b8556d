"""The settings of an evaluation."""

from dataclasses import dataclass
from pathlib import Path

from common.core import threads
from common.core.environment import PRETRAINED


@dataclass(frozen=True)
class EvaluationConfig:
    """What to evaluate, and how.

    Attributes:
        data_dir: The rootdir.  test/ needs labels in QP; train/ gives the median baseline.
        output: The folder for the results of this dataset.
        weights: The folder that holds the weight files, also in folders below it.
        psnr: What PSNR is computed of, "luma" or "rgb".
        sheets: The folder of VideoSet's label sheets, whose samples give the share of satisfied subjects.
        images: How many images the page shows.
        complexity: Measure what each model costs where complexity.csv in `output` does not have it yet.
        jobs: How many images are encoded at a time.
    """

    data_dir: Path
    output: Path
    weights: Path = PRETRAINED
    psnr: str = "luma"
    sheets: Path | None = None
    images: int = 12
    complexity: bool = False
    jobs: int = threads.CORES
