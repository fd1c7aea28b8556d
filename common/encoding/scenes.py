"""A clip that is encoded scene by scene, each scene at a setting of its own, and joined again with its audio.

The clip is decoded once, and the frames of each scene go to an encoder of their own, so that a scene starts with an
intra frame.  All encoders are used this way, because two allow no other: x264's zones do not change a constant QP
(measured), and SVT-AV1 has none.  Frames carry their own times, so that a variable frame rate is kept.
"""

import contextlib
import os
import re
import struct
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import ffmpeg

from common.core.errors import UserError
from common.encoding.codecs import Encoder
from common.media.clips import CUT_SCORE, format_warning, packet_sizes, probe, stream_codecs
from common.media.ffmpeg import ACCURATE, CLIP_THREADS, clip_as_yuv420, clip_input
from common.media.ffmpeg_process import Stream, feed, find_ffmpeg, raw_frames, run

FRAME_TIMEOUT = 600  # seconds
FILM_TIMEOUT = 7 * 24 * 3600  # seconds
MP4_AUDIO = frozenset({"aac", "ac3", "alac", "eac3", "flac", "mp2", "mp3", "opus"})  # what players know there
MP4_SUBTITLES = "mov_text"
# The times in these containers start anywhere.  ffmpeg shifts the first of the streams that it is asked for to 0, so
# that video and audio, each asked for separately, would no longer fit together.
FREE_CLOCK = r"Input #0, mpeg(?:ts)?,.*? start: (\S+),"


class ClipInfo(NamedTuple):
    """The properties of a clip that encoding must keep.

    Attributes:
        size: (H, W) as shown.
        sar: The sample aspect ratio, "1/1".
        colours: The options of ffmpeg's `setparams`.
        rate: Frames a second, on average.
        tick: The unit of `times`, in seconds.
        times: Of each frame, from the start of the file.
        scenes: [(first frame, last frame), ...].
        warning: Which properties of its samples encoding does not keep; "" for an ordinary clip.
        start: Seconds on the file's own clock, where ffmpeg must be told to keep it.
    """

    path: str
    size: tuple[int, int]
    sar: str
    colours: dict[str, str]
    rate: Fraction
    tick: Fraction
    times: list[int]
    scenes: list[tuple[int, int]]
    warning: str
    start: Fraction | None

    def frames(self) -> Stream:
        """Return its frames as they are encoded: 8-bit 4:2:0, upright, of even size."""
        return clip_as_yuv420(clip_input(self.path), self.size)

    @property
    def encoded_size(self) -> tuple[int, int]:
        """(H, W), both even."""
        height, width = self.size
        return height + height % 2, width + width % 2

    @property
    def ivf_header(self) -> bytes:
        """The header of an IVF file of raw 4:2:0 frames, each with its time."""
        height, width = self.encoded_size
        den, num = self.tick.denominator, self.tick.numerator
        return struct.pack("<4sHH4sHHIIII", b"DKIF", 0, 32, b"I420", width, height, den, num, 0, 0)

    def ivf_frame(self, pixels: bytes, number: int, first: int) -> bytes:
        """Return a frame of an IVF file that starts with the frame `first`."""
        return struct.pack("<Iq", len(pixels), self.times[number] - self.times[first]) + pixels

    def ivf_stream(self, source: str) -> Stream:
        """Return the frames of an IVF file with the tags that IVF lacks, so that ffmpeg does not convert them."""
        stream = ffmpeg.input(source, format="ivf").filter("setsar", self.sar, max=65535)
        return stream.filter("setparams", **self.colours)

    def ivf_output(self, encoder: Encoder, source: str, target: str | Path, value: int) -> Stream:
        """Return ffmpeg's graph that encodes an IVF file as `target`, with the setting `value`."""
        assert encoder.output
        ticks = {"enc_time_base": str(self.tick), "video_track_timescale": self.tick.denominator}
        rate, options = f"{self.rate.numerator}/{self.rate.denominator}", {"fps_mode": "passthrough", **ticks}
        return encoder.output(self.ivf_stream(source), target, value, CLIP_THREADS, rate, **options)


def analyse_clip(path: str | Path) -> ClipInfo:
    """Decode a clip once and return its properties.  Raises UserError where it is damaged anywhere."""
    stream = clip_input(path).filter("select", f"1+0*print(pts)+0*print(gt(scene,{CUT_SCORE}))").split()
    first = stream[1].filter("trim", end_frame=1).filter("scale", out_range="tv", flags=ACCURATE)
    first = first.filter("format", "yuv420p").filter("showinfo", checksum=0).output("-", format="null")
    # Checksums are an output that ffmpeg must write, so that it ends when this program is killed.
    every = stream[0].output("pipe:", format="framecrc", fps_mode="passthrough", enc_time_base="1/1000000")
    clock = re.search(FREE_CLOCK, probe(path), re.DOTALL)
    graph = ffmpeg.merge_outputs(every, first)
    log = run(graph.global_args("-copyts") if clock else graph, f"decoding {path}", timeout=FILM_TIMEOUT)[1]
    printed = re.findall(r"\[Eval @ \w+\] \[info\] (\S+)", log)
    base = re.search(r"config in time_base: (\d+)/(\d+), frame_rate: (\d+)/(\d+)", log)
    shown = re.search(r" sar:(\d+)/(\d+) s:(\d+)x(\d+) ", log)
    if not printed or "nan" in printed or not base or not shown:
        raise UserError(f"decoding {path}: {find_ffmpeg()} tells no times of its frames; expected FFmpeg 5.1 or newer")
    times = [int(float(time)) for time in printed[::2]]
    if any(later <= sooner for sooner, later in zip(times, times[1:])):
        raise UserError(f"{path}: its frames' times do not rise; remux it, for example with ffmpeg -i IN -c copy OUT")
    cuts = [0] + [number for number, cut in enumerate(printed[1::2]) if float(cut) and number] + [len(times)]
    num, den, *rate = map(int, base.groups())
    tick, rate = Fraction(num, den), Fraction(*rate) if all(rate) else Fraction(0)
    start = Fraction(clock[1]) if clock else None
    times = [time - round((start or 0) / tick) for time in times]
    if not 1 <= rate <= 240:  # unknown or variable
        rate = Fraction(len(times) - 1, times[-1] - times[0]) / tick if len(times) > 1 else Fraction(30)
        rate = min(max(rate.limit_denominator(1001), Fraction(1)), Fraction(240))
    tags = re.search(r"color_range:\S+ color_space:(\S+) color_primaries:(\S+) color_trc:(\S+)", log)
    colours = zip(("colorspace", "color_primaries", "color_trc"), tags.groups() if tags else ())
    colours = {name: value for name, value in colours if value not in ("unknown", "reserved", "gbr")}
    num, den, width, height = map(int, shown.groups())
    return ClipInfo(
        path=os.path.abspath(path),
        size=(height, width),
        sar=f"{num}/{den}",
        colours={"range": "tv", **colours},
        rate=rate,
        tick=tick,
        times=times,
        scenes=[(start, end - 1) for start, end in zip(cuts, cuts[1:])],
        warning=format_warning(log, "coded"),
        start=start,
    )


def each_scene(
    clip: ClipInfo, task: str, progress: Callable[[], object]
) -> Iterator[tuple[int, int, Iterator[tuple[int, bytes]]]]:
    """Yield (scene's number, its first frame, iterator over (frame's number, raw pixels)); decodes the clip once.

    task: As `common.media.ffmpeg_process`.  progress: Called after each frame.
    """
    height, width = clip.encoded_size
    frames = enumerate(raw_frames(clip.frames(), height * width * 3 // 2, task, FRAME_TIMEOUT))
    for scene, (first, last) in enumerate(clip.scenes):

        def frames_of_scene(last=last):
            for number, pixels in frames:
                yield number, pixels
                progress()
                if number == last:
                    return
            raise UserError(f"{task}: {clip.path} has fewer frames than before; is another program writing it?")

        yield scene, first, frames_of_scene()
    for _ in frames:
        raise UserError(f"{task}: {clip.path} has more frames than before; is another program writing it?")


def scene_file(folder: Path, scene: int, value: int) -> Path:
    """Return the file that holds a scene, by its number, encoded with a setting."""
    return folder / f"{scene}-{value}.mp4"


def encode_scenes(
    clip: ClipInfo, encoder: Encoder, values: list[set[int]], folder: Path, task: str, progress: Callable[[], object]
) -> list[dict[int, Path]]:
    """Encode each scene with each of its settings; return {setting: file} for each scene.

    The settings of a scene are encoded at the same time.  Files that exist are kept.

    values: For each scene, its settings.  folder: For the files.  task, progress: As `each_scene`.
    """
    files = [{value: scene_file(folder, scene, value) for value in each} for scene, each in enumerate(values)]
    for scene, first, frames in each_scene(clip, task, progress):
        with contextlib.ExitStack() as stack:
            missing = {value: file for value, file in files[scene].items() if not file.exists()}
            graphs = [clip.ivf_output(encoder, "pipe:", file, value) for value, file in missing.items()]
            writes = [stack.enter_context(feed(graph, task, FRAME_TIMEOUT)) for graph in graphs]
            for write in writes:
                write(clip.ivf_header)
            for number, pixels in frames:
                frame = clip.ivf_frame(pixels, number, first)
                for write in writes:
                    write(frame)
    return files


def join_scenes(clip: ClipInfo, files: list[Path], target: Path, folder: Path) -> Stream:
    """Return ffmpeg's graph that joins encoded scenes, one file each, and copies the clip's audio and subtitles."""
    starts = [clip.times[first] for first, _ in clip.scenes] + [clip.times[-1]]
    micro = [round((start - starts[0]) * clip.tick * 1_000_000) for start in starts]
    lines = ["ffconcat version 1.0"]
    for file, start, end in zip(files, micro, micro[1:]):
        lines += [f"file {file.name}", f"duration {(end - start) / 1e6:.6f}"]
    listing = folder / "scenes.txt"
    listing.write_text("\n".join(lines[:-1] if len(files) == 1 else lines) + "\n")
    encoded = ffmpeg.input(
        str(listing), format="concat", protocol_whitelist="file", itsoffset=f"{float(starts[0] * clip.tick):.6f}"
    )
    clock = {} if clip.start is None else {"itsoffset": f"{-float(clip.start):.6f}"}
    source = ffmpeg.input(clip.path, protocol_whitelist="file", **clock)
    kinds = ["a?", "s?"]
    # No later frame says how long the last one is shown.
    shown = f"if(eq(N,{len(clip.times) - 1}),{float(1 / clip.rate):.6f}/TB,DURATION)"
    options = {"c": "copy", "map_metadata": 1, "map_chapters": 1, "bsf:v": f"setts=pts=PTS:dts=DTS:duration='{shown}'"}
    scale = clip.tick.denominator
    if target.suffix == ".mp4":
        while scale < 10000:  # as ffmpeg does
            scale *= 2
        options |= {"video_track_timescale": scale, "movflags": "+faststart"}
    else:
        kinds.append("t?")
        if MP4_SUBTITLES in stream_codecs(clip.path)[1]:
            options["c:s"] = "srt"  # Matroska cannot hold MP4's
    graph = ffmpeg.output(encoded["v"], *(source[kind] for kind in kinds), str(target), **options)
    return graph.global_args("-copyts") if clock else graph


def container(path: str | Path) -> str:
    """Return the suffix for an encoded clip with its audio and subtitles copied: ".mp4" if possible, else ".mkv"."""
    audio, subtitles = stream_codecs(path)
    return ".mp4" if set(audio) <= MP4_AUDIO and set(subtitles) <= {MP4_SUBTITLES} else ".mkv"


def video_bytes(files: list[Path]) -> int:
    """Return the bytes of the encoded frames in several files, without their containers."""
    return sum(sum(packet_sizes(file)) for file in files)
