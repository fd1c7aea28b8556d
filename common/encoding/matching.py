"""The setting of an encoder that is as good as H.264 at a QP, by the PSNR of luma.

A QP, a CRF and a JPEG quality are different scales, and which of their values look alike depends on the image: so it is
found on the image itself, or on frames of the scene.
"""

import functools
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import av
import numpy as np

from common.encoding.codecs import H264, Encoder
from common.encoding.scenes import ClipInfo, Frame, SceneEncoder
from common.media.metrics import HIGHEST_DB, psnr

STEP_DB = 0.6  # from one setting to the next, for the first guess
SAMPLE = 120  # frames of a scene on which its setting is found


def match_quality(settings: Sequence[int], quality: Callable[[int], float], wanted: float) -> tuple[int, float]:
    """Return the coarsest setting that is good enough, else the finest, and its quality.

    Args:
        settings: From the coarsest to the finest.
        quality: quality(setting), in dB, rises along `settings`; it is called as rarely as the search allows.
        wanted: What quality(setting) must reach.
    """
    known = {}
    low, high = -1, len(settings)  # known to be too coarse, known to be good enough
    at = len(settings) // 2
    while high - low > 1:
        known[at] = quality(settings[at])
        low, high = (low, at) if known[at] >= wanted else (at, high)
        if low in known and high in known:
            at = low + (wanted - known[low]) / (known[high] - known[low]) * (high - low)
        else:
            at += (wanted - known[at]) / STEP_DB
        at = min(max(round(at), low + 1), high - 1)
    best = min(high, len(settings) - 1)
    return settings[best], known[best]


def describe_mapping(db: float, wanted: float, qp: int, where: str = "") -> str:
    """Say how well a setting matches H.264 at a QP, by PSNR in dB; where: on which frames."""
    result = "mapped by equal PSNR" if db >= wanted else "its best, below the PSNR wanted"
    return f"{result}{where} ({db:.2f} dB against {wanted:.2f} dB of H.264 at QP {qp})"


class Sample:
    """Frames of a scene, kept on disk, on which encoders are tried.

    They are encoded as the scene will be, frame types included: an encoder loses little on a frame that repeats the one
    before it.
    """

    def __init__(
        self,
        clip: ClipInfo,
        windows: Sequence[range],
        frames: Iterator[Frame],
        alive: Callable[[], None],
        folder: Path | None = None,
    ):
        """Take frames up to the end of the last window.

        Args:
            windows: The numbers of the frames to keep, in ranges of one length.
            alive: Called before each frame that is encoded; it raises where the program is stopping.
            folder: Where there is room for the frames; by default the folder of temporary files.
        """
        self.clip, self.windows, self.alive = clip, windows, alive
        with tempfile.TemporaryFile(dir=folder) as file:
            for number, samples in frames:
                if any(number in window for window in windows):
                    file.write(samples)
                if number == windows[-1][-1]:
                    break
            file.flush()
            self.stored = np.memmap(file, np.uint8, "r").reshape(len(windows), len(windows[0]), -1)
        self.dbs = functools.cache(self._dbs)

    def frames(self) -> Iterator[Frame]:
        """Yield the frames of the first window."""
        return zip(self.windows[0], self.stored[0])

    def match(self, encoder: Encoder, qp: int) -> tuple[int, float, float]:
        """Return the setting that is as good as H.264 at a QP, its PSNR, and that of H.264, both in dB."""
        wanted = self.db(H264, qp)
        return *match_quality(encoder.settings, lambda value: self.db(encoder, value), wanted), wanted

    def db(self, encoder: Encoder, value: int) -> float:
        """Return the mean PSNR with a setting."""
        return statistics.fmean(self.dbs(encoder, value))

    def _dbs(self, encoder: Encoder, value: int) -> list[float]:
        """Return the mean PSNR of each window with a setting."""
        return [self._window_db(encoder, value, *window) for window in zip(self.windows, self.stored)]

    def _window_db(self, encoder: Encoder, value: int, numbers: range, stored: np.ndarray) -> float:
        trial, packets = SceneEncoder(self.clip, encoder, value), []
        for frame in [*zip(numbers, stored), None]:
            self.alive()
            packets += trial.encode(frame)
        height, width = self.clip.encoded_size
        originals = (samples[: height * width].reshape(height, width) for samples in stored)
        lumas = _decode_luma(packets, encoder, self.clip.encoded_size)
        return statistics.fmean(min(psnr(a, b), HIGHEST_DB) for a, b in zip(originals, lumas, strict=True))


def _decode_luma(packets: list[av.Packet], encoder: Encoder, size: tuple[int, int]) -> Iterator[np.ndarray]:
    """Yield the luma, uint8 (H, W), of the frames in the packets of a SceneEncoder, in the order shown."""
    decoder = av.CodecContext.create(encoder.decoder, "r")
    assert isinstance(decoder, av.VideoCodecContext)
    for packet in [*packets, None]:
        for frame in decoder.decode(packet):
            plane = frame.planes[0]
            yield np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[: size[0], : size[1]]
