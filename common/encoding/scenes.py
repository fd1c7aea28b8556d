"""A clip coded scene by scene, each scene at a setting of its own, and joined again with its sound.

The clip is decoded once; each scene's frames go to an encoder of their own, so that a scene starts with an intra frame.
One way for every encoder, and the only one for two: x264's zones leave a constant QP as it is (measured), SVT-AV1 has
none.  Frames carry their own times, so that a variable frame rate stays as it is.
"""

import contextlib
import os
import re
import struct
from fractions import Fraction
from typing import NamedTuple

import ffmpeg

from common.core.errors import UserError
from common.media.clips import CUT_SCORE, format_warning, packet_sizes, probe, stream_codecs
from common.media.ffmpeg import ACCURATE, CLIP_THREADS, clip_as_yuv420, clip_input
from common.media.ffmpeg_process import feed, find_ffmpeg, raw_frames, run

STALL = 600  # seconds that one frame may take
WHOLE = 7 * 24 * 3600  # seconds that a film may take
MP4_SOUND = frozenset({"aac", "ac3", "alac", "eac3", "flac", "mp2", "mp3", "opus"})  # what players know there
MP4_TEXT = "mov_text"
# Of these, whose times count from anywhere, ffmpeg moves the first of the streams that it is asked for to 0: pictures
# and sound, each asked for alone, would no longer fit together.
FREE_CLOCK = r"Input #0, mpeg(?:ts)?,.*? start: (\S+),"


class Clip(NamedTuple):
    """What must not change when a clip is coded.

    size: (H, W) as shown.  sar: sample aspect ratio, "1/1".  colours: setparams' options.  rate: frames a second, an
    average.  tick: seconds, the unit of `times`, one a frame, from the file's start.  scenes: [(first frame, last
    frame), ...].  lost: in words, what of its samples does change, "" where nothing does.  start: seconds on
    the file's own clock, where ffmpeg must be told to keep to it, else None.
    """

    path: str
    size: tuple
    sar: str
    colours: dict
    rate: Fraction
    tick: Fraction
    times: list
    scenes: list
    lost: str
    start: Fraction | None

    def frames(self):
        """A stream of its frames as they are coded: 8-bit 4:2:0, upright, of even size."""
        return clip_as_yuv420(clip_input(self.path), self.size)

    @property
    def even(self):
        """(H, W) as coded."""
        return tuple(side + side % 2 for side in self.size)

    @property
    def header(self):
        """IVF's: raw 4:2:0 frames, each with its time."""
        height, width = self.even
        den, num = self.tick.denominator, self.tick.numerator
        return struct.pack("<4sHH4sHHIIII", b"DKIF", 0, 32, b"I420", width, height, den, num, 0, 0)

    def packed(self, pixels, number, first):
        """A frame, and its time since the frame `first`, as IVF has it."""
        return struct.pack("<Iq", len(pixels), self.times[number] - self.times[first]) + pixels

    def stream(self, source):
        """The frames of an IVF stream, `source`, with the tags that it lacks; ffmpeg would convert between others."""
        stream = ffmpeg.input(source, format="ivf").filter("setsar", self.sar, max=65535)
        return stream.filter("setparams", **self.colours)

    def output(self, coder, source, target, value):
        """ffmpeg's graph that codes an IVF stream, `source`, as `target`."""
        ticks = {"enc_time_base": str(self.tick), "video_track_timescale": self.tick.denominator}
        rate = f"{self.rate.numerator}/{self.rate.denominator}"
        return coder.output(self.stream(source), target, value, CLIP_THREADS, rate, fps_mode="passthrough", **ticks)


def look(path):
    """Decode a clip once and return what it is like, a `Clip`.  Raises UserError for damage anywhere in it."""
    stream = clip_input(path).filter("select", f"1+0*print(pts)+0*print(gt(scene,{CUT_SCORE}))").split()
    first = stream[1].filter("trim", end_frame=1).filter("scale", out_range="tv", flags=ACCURATE)
    first = first.filter("format", "yuv420p").filter("showinfo", checksum=0).output("-", format="null")
    # A checksum to read, so that ffmpeg ends when we are killed.
    every = stream[0].output("pipe:", format="framecrc", fps_mode="passthrough", enc_time_base="1/1000000")
    free = re.search(FREE_CLOCK, probe(path), re.DOTALL)
    graph = ffmpeg.merge_outputs(every, first)
    log = run(graph.global_args("-copyts") if free else graph, f"decoding {path}", timeout=WHOLE)[1]
    printed = re.findall(r"\[Eval @ \w+\] \[info\] (\S+)", log)
    tick = re.search(r"config in time_base: (\d+)/(\d+), frame_rate: (\d+)/(\d+)", log)
    shown = re.search(r" sar:(\d+)/(\d+) s:(\d+)x(\d+) ", log)
    if not printed or "nan" in printed or not tick or not shown:
        raise UserError(f"decoding {path}: {find_ffmpeg()} tells no times of its frames; expected FFmpeg 5.1 or newer")
    times = [int(float(time)) for time in printed[::2]]
    if any(later <= sooner for sooner, later in zip(times, times[1:])):
        raise UserError(f"{path}: its frames' times do not rise; remux it, for example with ffmpeg -i IN -c copy OUT")
    cuts = [0] + [number for number, cut in enumerate(printed[1::2]) if float(cut) and number] + [len(times)]
    num, den, *rate = map(int, tick.groups())
    tick, rate = Fraction(num, den), Fraction(*rate) if all(rate) else Fraction(0)
    start = Fraction(free[1]) if free else None
    times = [time - round((start or 0) / tick) for time in times]
    if not 1 <= rate <= 240:  # none given, or a variable one
        rate = Fraction(len(times) - 1, times[-1] - times[0]) / tick if len(times) > 1 else Fraction(30)
        rate = min(max(rate.limit_denominator(1001), Fraction(1)), Fraction(240))
    colours = re.search(r"color_range:\S+ color_space:(\S+) color_primaries:(\S+) color_trc:(\S+)", log)
    named = zip(("colorspace", "color_primaries", "color_trc"), colours.groups() if colours else ())
    colours = {name: value for name, value in named if value not in ("unknown", "reserved", "gbr")}
    num, den, width, height = map(int, shown.groups())
    return Clip(
        path=os.path.abspath(path),
        size=(height, width),
        sar=f"{num}/{den}",
        colours={"range": "tv", **colours},
        rate=rate,
        tick=tick,
        times=times,
        scenes=[(start, end - 1) for start, end in zip(cuts, cuts[1:])],
        lost=format_warning(log, "coded"),
        start=start,
    )


def each_scene(clip, doing, progress):
    """Yield (scene's number, its first frame, an iterator over (frame's number, pixels as bytes)), decoding once."""
    height, width = clip.even
    frames = enumerate(raw_frames(clip.frames(), height * width * 3 // 2, doing, STALL))
    for scene, (first, last) in enumerate(clip.scenes):

        def these(last=last):
            for number, pixels in frames:
                yield number, pixels
                progress()
                if number == last:
                    return
            raise UserError(f"{doing}: {clip.path} has fewer frames than when it was looked at; is it being written?")

        yield scene, first, these()
    for _ in frames:
        raise UserError(f"{doing}: {clip.path} has more frames than when it was looked at; is it being written?")


def part(folder, scene, value):
    """The file that holds a scene, by its number, coded with a setting."""
    return folder / f"{scene}-{value}.mp4"


def code(clip, coder, values, folder, doing, progress=lambda: None):
    """Code each scene with each of its settings: values, [{setting, ...}, ...], one set a scene.

    Returns the files, [{setting: path}, ...]; those that are there are taken as they are.  Several settings of a scene
    are coded side by side.
    """
    files = [{value: part(folder, scene, value) for value in those} for scene, those in enumerate(values)]
    for scene, first, frames in each_scene(clip, doing, progress):
        with contextlib.ExitStack() as stack:
            due = {value: file for value, file in files[scene].items() if not file.exists()}
            graphs = [clip.output(coder, "pipe:", file, value) for value, file in due.items()]
            writes = [stack.enter_context(feed(graph, doing, STALL)) for graph in graphs]
            for write in writes:
                write(clip.header)
            for number, pixels in frames:
                frame = clip.packed(pixels, number, first)
                for write in writes:
                    write(frame)
    return files


def join(clip, files, target, folder):
    """Write the coded scenes, one file each, and the sound and subtitles of `clip`, untouched, as `target`."""
    starts = [clip.times[first] for first, _ in clip.scenes] + [clip.times[-1]]
    micro = [round((start - starts[0]) * clip.tick * 1_000_000) for start in starts]
    lines = ["ffconcat version 1.0"]
    for file, start, end in zip(files, micro, micro[1:]):
        lines += [f"file {file.name}", f"duration {(end - start) / 1e6:.6f}"]
    listing = folder / "scenes.txt"
    listing.write_text("\n".join(lines[:-1] if len(files) == 1 else lines) + "\n")
    coded = ffmpeg.input(
        str(listing), format="concat", protocol_whitelist="file", itsoffset=f"{float(starts[0] * clip.tick):.6f}"
    )
    clock = {} if clip.start is None else {"itsoffset": f"{-float(clip.start):.6f}"}
    source = ffmpeg.input(clip.path, protocol_whitelist="file", **clock)
    kinds = ["a?", "s?"]
    # No frame after the last says how long it is shown.
    shown = f"if(eq(N,{len(clip.times) - 1}),{float(1 / clip.rate):.6f}/TB,DURATION)"
    options = {"c": "copy", "map_metadata": 1, "map_chapters": 1, "bsf:v": f"setts=pts=PTS:dts=DTS:duration='{shown}'"}
    scale = clip.tick.denominator
    if target.suffix == ".mp4":
        while scale < 10000:  # as ffmpeg does
            scale *= 2
        options |= {"video_track_timescale": scale, "movflags": "+faststart"}
    else:
        kinds.append("t?")
        if MP4_TEXT in stream_codecs(clip.path)[1]:
            options["c:s"] = "srt"  # Matroska has no other way to keep them
    graph = ffmpeg.output(coded["v"], *(source[kind] for kind in kinds), str(target), **options)
    return graph.global_args("-copyts") if clock else graph


def container(path):
    """The suffix of what holds a coded clip with its sound and subtitles as they are: ".mp4" if possible, or ".mkv"."""
    sound, text = stream_codecs(path)
    return ".mp4" if set(sound) <= MP4_SOUND and set(text) <= {MP4_TEXT} else ".mkv"


def size_of(files):
    """Bytes of the coded pictures in `files`."""
    return sum(sum(packet_sizes(file)) for file in files)
