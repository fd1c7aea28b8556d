"""Settings of encoding.  Light to import: the command line needs them for its help."""

from dataclasses import dataclass
from pathlib import Path

CODECS = ("h264", "hevc", "av1", "jpeg", "hevc-qp", "h264-crf", "hevc-crf")
"""The names of what `common.encoding.codecs.ENCODERS` holds."""

PLAN_FORMATS = ("text", "json", "ffmpeg", "x265-zones", "av1an-scenes")
"""What a plan is printed as; see `common.encoding.plans`."""

SCENE_QPS = ("lowest", "median")
"""Which of the QPs that were predicted for the frames of a scene is the QP of the scene."""


@dataclass(frozen=True)
class PlanConfig:
    """What is printed for other tools to encode with.

    Attributes:
        format: One of PLAN_FORMATS.
        level, codec, scene, sur: As EncodingConfig.
    """

    format: str
    level: str | None = None
    codec: str = "h264"
    scene: str = "lowest"
    sur: float | None = None


@dataclass(frozen=True)
class EncodingConfig:
    """How images and clips are encoded at their predicted QPs.

    Attributes:
        folder: For the encoded files and report.csv.
        level: The level whose QP is used, "JND1" to "JND3"; by default the first that the model predicts.
        codec: One of CODECS.
        baseline: The QP, 1 to 51, whose size the encoded files are compared with; by default the lowest predicted one.
        scene: One of SCENE_QPS.
        sur: The satisfied-user ratio whose QP is used in place of the level's own; it is rounded down, not to nearest.
        jobs: How many scenes of a clip are encoded at a time; None for as many as keep all cores busy.
        resume: Keep what an earlier run has encoded with the same settings.
        overwrite: Replace what an earlier run has encoded.
    """

    folder: Path
    level: str | None = None
    codec: str = "h264"
    baseline: int | None = None
    scene: str = "lowest"
    sur: float | None = None
    jobs: int | None = None
    resume: bool = False
    overwrite: bool = False
