"""The settings of a prediction."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common.core.environment import PRETRAINED
from common.media.clips import is_clip


@dataclass(frozen=True, kw_only=True)
class PredictionConfig:
    """How levels are predicted; the flags of `predict` have the same names.

    Args:
        level: "JND1" to "JND3"; None for all levels that have weights.
        model_weights_path: the weight file, or a folder that holds it.
        input_size: (height, width) that the network sees; None for the paper's.
        resize_mode: what it sees of an image, a key of `common.prediction.resize_modes.RESIZE_MODES`.
        frames: which frames of a clip, as `common.media.clips.extract_frames` takes them.
        precision: of weights and arithmetic, "float32" or "bfloat16".
        batch_size: images in the network at once; more than a few gain something on a GPU only.
        dask: address of the Dask scheduler whose workers predict; None for this machine.
    """

    level: str | None = None
    model_weights_path: Path = PRETRAINED
    input_size: tuple[int, int] | None = None
    resize_mode: str = "stretch"
    frames: str = "scenes+1s"
    precision: str = "float32"
    batch_size: int = 1
    dask: str | None = None

    @property
    def jnd(self) -> int | None:
        """The number of the level, 1 to 3, or None."""
        return int(self.level[-1]) if self.level else None

    def by(self, path: str, model: str, digests: Sequence[str]) -> str:
        """What the rows of a file depend on besides the file: "LAT 1a2b3c4d stretch float32 scenes+1s".

        `--resume` keeps the rows of an earlier run whose column `by` says the same.

        Args:
            digests: of the weight files, hexadecimal.
        """
        parts = [model, *(digest[:8] for digest in digests), self.resize_mode, self.precision]
        if self.input_size:
            height, width = self.input_size
            parts.append(f"{width}x{height}")
        if is_clip(path):
            parts.append(self.frames)
        return " ".join(parts)
