"""A clip's scenes, and an encoder for each of them.

The ffmpeg program decodes the clip, and the frames of each scene go to an encoder of their own, so that a scene starts
with an intra frame.  All encoders are used this way, because two allow no other: x264's zones do not
change a constant QP (measured), and SVT-AV1 has none.  The encoders are PyAV's, whose packets need no file; its x264
gives the same bytes as the program's.
"""

import array
import itertools
import math
import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np

from common.core.errors import UserError
from common.core.terminal import progress
from common.encoding.codecs import Encoder
from common.encoding.sources import Source
from common.media.clips import CUT_SCORE, format_warning, seconds_of
from common.media.ffmpeg import ClipFormat, clip_as_yuv420, clip_format, clip_input
from common.media.ffmpeg_process import Stream, find_ffmpeg, output_lines, raw_frames

FRAME_TIMEOUT = 600  # seconds

Frame = tuple[int, Any]
"""A frame's number and its samples, 8-bit 4:2:0 of `ClipInfo.encoded_size`, as bytes or a flat array."""


class ClipInfo(NamedTuple):
    """The properties of a clip that encoding must keep.

    Attributes:
        format: Of its frames.
        rate: Frames a second, on average.
        tick: The unit of `times` and `shown`, in seconds.
        times: Of each frame, on the clock of `common.encoding.sources`.
        shown: How long the last frame is shown.
        scenes: [(first frame, last frame), ...].
        warning: Which properties of its samples encoding does not keep; "" for an ordinary clip.
    """

    path: str
    format: ClipFormat
    rate: Fraction
    tick: Fraction
    times: list[int]
    shown: int
    scenes: list[tuple[int, int]]
    warning: str

    def frames(self, start: int = 0) -> Stream:
        """Return its frames from number `start` on as they are encoded: 8-bit 4:2:0, upright, of even size."""
        stream = clip_input(self.path)
        return clip_as_yuv420(
            stream.filter("trim", start_frame=start) if start else stream, self.format.size, self.format.scale
        )

    @property
    def encoded_size(self) -> tuple[int, int]:
        """(H, W), both even."""
        height, width = self.format.size
        return height + height % 2, width + width % 2

    def set_up(self, context: av.VideoCodecContext, encoder: Encoder, value: int) -> None:
        """Set up an encoder of PyAV for its frames, with a setting."""
        options = {name: str(option) for name, option in encoder.options(value, self.rate).items()}
        context.codec_tag = options.pop("tag:v", context.codec_tag)
        context.options = options | self.format.tags
        context.height, context.width = self.encoded_size
        context.pix_fmt, context.time_base, context.framerate = "yuv420p", self.tick, self.rate
        context.thread_type = "FRAME"  # PyAV's default would cut each frame into slices
        if sar := Fraction(self.format.sar):
            context.sample_aspect_ratio = sar

    @property
    def seconds(self) -> float:
        return float((self.times[-1] + self.shown - self.times[0]) * self.tick)


def analyse_clip(path: str | Path) -> ClipInfo:
    """Decode a clip once, with a progress bar, and return its properties.  Raises UserError where it is damaged."""
    format, printed, head, last = clip_format(path), array.array("d"), "", b""
    tick, rate = format.tick, format.rate
    stream = clip_input(path).filter("select", f"1+0*print(pts)+0*print(gt(scene,{CUT_SCORE}))")
    stream = stream.filter("settb", "1/1000000").filter("setpts", "N")  # of which only the durations are read
    # Checksums are an output that ffmpeg must write, so that it ends when this program is killed.
    graph = stream.output("pipe:", format="framecrc", fps_mode="passthrough", enc_time_base="1/1000000")
    lines = output_lines(graph.global_args("-copyts"), f"decoding {path}", FRAME_TIMEOUT)
    with progress(desc=f"{Path(path).name}: scenes", unit="frame", leave=False) as bar:
        for line, log in lines:
            printed.extend(map(float, re.findall(r"\[Eval @ \w+\] \[info\] (\S+)", log)))
            if not head:
                head, bar.total = log, round((seconds_of(log) or 0) * rate) or None
            if line and not line.startswith(b"#"):
                last = line
                bar.update()
    if not printed or any(map(math.isnan, printed)):
        raise UserError(f"decoding {path}: {find_ffmpeg()} tells no times of its frames; expected FFmpeg 5.1 or newer")
    with Source(path) as source:
        times = source.frame_times([int(time) for time in printed[::2]], tick)
    if rate and any(later < sooner for sooner, later in itertools.pairwise(times)):
        # Raw H.264 that was copied into MP4 has the times of decoding, while decoders give frames in the order shown.
        times = [min(times) + round(number / rate / tick) for number in range(len(times))]
    for number, (sooner, later) in enumerate(itertools.pairwise(times), 1):
        if later <= sooner:
            raise UserError(
                f"{path}: frame {number}, counted from 0, has the time of the one before it; give its frames an "
                "even rate, for example with ffmpeg -i IN -fps_mode cfr -qp 0 -c:a copy OUT.mkv"
            )
    cuts = [0] + [number for number, cut in enumerate(printed[1::2]) if cut and number] + [len(times)]
    if not 1 <= rate <= 240:  # unknown or variable
        rate = Fraction(len(times) - 1, times[-1] - times[0]) / tick if len(times) > 1 else Fraction(30)
        rate = min(max(rate.limit_denominator(1001), Fraction(1)), Fraction(240))
    shown = round(int(last.split(b",")[3]) / (1_000_000 * tick))
    return ClipInfo(
        path=str(path),
        format=format,
        rate=rate,
        tick=tick,
        times=times,
        shown=max(shown, 1) if shown else round(1 / rate / tick),
        scenes=[(start, end - 1) for start, end in itertools.pairwise(cuts)],
        warning=format_warning(head, "coded"),
    )


def read_frames(clip: ClipInfo, start: int, task: str) -> Iterator[Frame]:
    """Yield (number, raw samples) of the frames of a clip from number `start` on; task: as `media.ffmpeg_process`."""
    height, width = clip.encoded_size
    return enumerate(raw_frames(clip.frames(start), height * width * 3 // 2, task, FRAME_TIMEOUT), start)


class SceneReader:
    """Decodes a clip once, and gives the frames of the scenes that are asked for, in their order."""

    def __init__(self, clip: ClipInfo, task: str, progress: Callable[[], object]):
        """Remember a clip, which is decoded from the first scene on.  progress: Called after each frame."""
        self.clip, self.task, self.progress, self.frames = clip, task, progress, None

    def read(self, first: int, last: int) -> Iterator[Frame]:
        """Yield the frames of a scene, and pass over those before it."""
        self.frames = self.frames or read_frames(self.clip, first, self.task)
        for number, samples in self.frames:
            if number >= first:
                yield number, samples
                self.progress()
            if number == last:
                return
        raise UserError(f"{self.task}: {self.clip.path} has fewer frames than before; is another program writing it?")


class SceneEncoder:
    """Encodes frames of a clip as a part that starts anew; `size` is the number of bytes so far."""

    def __init__(self, clip: ClipInfo, encoder: Encoder, value: int, flags: int = 0):
        """Open an encoder.  flags: of its context."""
        context = av.CodecContext.create(encoder.library, "w")
        assert isinstance(context, av.VideoCodecContext)
        clip.set_up(context, encoder, value)
        context.flags |= flags
        self.context, self.clip, self.size = context, clip, 0

    def encode(self, frame: Frame | None) -> list[av.Packet]:
        """Return the packets that are ready after a frame; after None, all that are left."""
        image = None
        if frame:
            number, samples = frame
            height, width = self.clip.encoded_size
            pixels = np.frombuffer(samples, np.uint8).reshape(height * 3 // 2, width)
            image = av.VideoFrame.from_ndarray(pixels, format="yuv420p")
            image.pts, image.time_base = self.clip.times[number], self.clip.tick
        packets = self.context.encode(image)
        self.size += sum(packet.size for packet in packets)
        return packets
