"""Settings of encoding.  Light to import: the command line needs them for its help."""

from dataclasses import dataclass
from pathlib import Path

CODECS = ("h264", "hevc", "av1", "jpeg", "hevc-qp", "h264-crf", "hevc-crf")
"""The names of what `common.encoding.codecs.ENCODERS` holds."""

PLAN_FORMATS = ("text", "json", "ffmpeg", "x265-zones", "av1an-scenes")
"""What a plan is printed as; see `common.encoding.plans`."""

SCENE_QPS = ("lowest", "median")
"""Which of the QPs that were predicted for the frames of a scene is the QP of the scene."""


@dataclass(frozen=True, kw_only=True)
class SceneConfig:
    """How predicted QPs become the settings of images and scenes.

    Attributes:
        level: The level whose QP is used, "JND1" to "JND3"; by default the first that the model predicts.
        codec: One of CODECS.
        scene: One of SCENE_QPS.
        sur: The satisfied-user ratio whose QP is used in place of the level's own; it is rounded down, not to nearest.
    """

    level: str | None = None
    codec: str = "h264"
    scene: str = "lowest"
    sur: float | None = None


@dataclass(frozen=True)
class PlanConfig(SceneConfig):
    """What is printed for other tools to encode with.  format: One of PLAN_FORMATS."""

    format: str


@dataclass(frozen=True)
class EncodingConfig(SceneConfig):
    """How images and clips are encoded at their predicted QPs.

    Attributes:
        folder: For the encoded files and report.csv.
        baseline: The QP, 1 to 51, whose size the encoded files are compared with; by default the lowest predicted one.
        jobs: How many scenes of a clip are encoded at a time; None for as many as keep all cores busy.
        resume: Keep what an earlier run has encoded with the same settings.
        overwrite: Replace what an earlier run has encoded.
    """

    folder: Path
    baseline: int | None = None
    jobs: int | None = None
    resume: bool = False
    overwrite: bool = False
