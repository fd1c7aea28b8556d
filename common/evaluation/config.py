"""The settings of an evaluation."""

from dataclasses import dataclass
from pathlib import Path

from common.core import threads
from common.core.environment import PRETRAINED


@dataclass(frozen=True)
class EvaluationConfig:
    """What to evaluate, and how; `python3 -m common.evaluate --help` says more about each."""

    data_dir: Path
    output: Path
    weights: Path = PRETRAINED
    psnr: str = "luma"  # or "rgb"
    sheets: Path | None = None  # the folder of VideoSet's label sheets
    images: int = 100  # that the page shows
    complexity: bool = False  # measure the costs that complexity.csv in `output` lacks
    jobs: int = threads.CORES  # images encoded at a time
