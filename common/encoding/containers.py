"""The containers of encoded clips: which of them holds what, and how one is written.

Packets never get a file of their own: those of the encoders and those of the source's other streams go straight into
the container of the encoded clip, each with its own time.
"""

import collections
import heapq
import io
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
from av.container import OutputContainer
from av.error import FFmpegError
from av.stream import Disposition

from common.encoding.codecs import Encoder
from common.encoding.scenes import ClipInfo
from common.encoding.sources import ISO, Source
from common.media.ffmpeg import ClipFormat

# The containers that hold encoded clips, by ffmpeg's names of those of the sources: {format: its suffixes}, the usual
# format first.  AVI, ASF, Ogg and MPEG-PS are not here: they do not hold the times of B-frames.
_CONTAINERS = {
    ISO: {"mp4": (".mp4", ".m4v"), "mov": (".mov", ".qt"), "3gp": (".3gp",), "3g2": (".3g2",)},
    "matroska,webm": {"matroska": (".mkv",), "webm": (".webm",)},
    "mpegts": {"mpegts": (".ts", ".m2ts", ".mts")},
    "flv": {"flv": (".flv",)},
}
# What players know in MP4; a source that is in none of these containers and holds more becomes Matroska if it can.
_MP4 = frozenset({"aac", "ac3", "alac", "eac3", "flac", "mp2", "mp3", "opus", "mov_text"})
_FALLBACKS = (("mp4", ".mp4"), ("matroska", ".mkv"))
_UNHEARD = {("webm", "libx264"), ("webm", "libx265"), ("mpegts", "libsvtav1")}  # pairs that no player knows
_HEADERLESS = ("dvb_teletext",)  # codecs that PyAV can copy though it does not know them
_CONVERSIONS = ("flac", "aac")  # what sound becomes that a container does not hold: the first of them that it does
_RATE = Fraction(25)
_BLANK = ClipInfo("", ClipFormat((64, 64), "0/1", 1 / _RATE, _RATE, {}, {}), _RATE, 1 / _RATE, [0], 1, [(0, 0)], "")
_COVER = {"filename": "cover", "mimetype": "image/jpeg"}
_STALE = ("bps", "duration", "encoder", "number_of_", "_statistics")  # tags that describe the source's own packets


class Container(NamedTuple):
    """A kind of container, and what becomes of the source's other streams in it.

    Attributes:
        suffix: Of files.
        format: ffmpeg's name.
        kept: {index of a stream: the codec that it is converted to, "" where it is copied}.
        changes: The streams that are converted or lost, in words.
    """

    suffix: str
    format: str
    kept: dict[int, str]
    changes: list[str]

    def open(self, file: Any) -> OutputContainer:
        """Open a file for writing.  file: a path, or an object such as BytesIO."""
        options = {"movflags": "+faststart"} if self.format in _CONTAINERS[ISO] and isinstance(file, Path) else {}
        if self.format in ("matroska", "webm"):  # whose numbers of tracks would be random
            options["fflags"] = "+bitexact"
        if self.format == "mpegts":
            options["mpegts_m2ts_mode"] = str(int(self.suffix != ".ts"))
        return av.open(f"file:{file}" if isinstance(file, Path) else file, "w", self.format, container_options=options)


def choose_container(path: str | Path, encoder: Encoder) -> Container:
    """Return the container for an encoded clip: the source's own, or one that holds more of its other streams."""
    with Source(path) as source:
        own, suffix = _CONTAINERS.get(source.file.format.name, {}), source.path.suffix.lower()
        kinds = [(format, suffix) for format, suffixes in own.items() if suffix in suffixes]
        kinds += [(format, suffixes[0]) for format, suffixes in list(own.items())[:1]]
        known = kinds or all(source.codecs[stream.index] in _MP4 for stream in source.others())
        kinds += _FALLBACKS if known else _FALLBACKS[::-1]
        tried = [_try_container(*kind, encoder, source) for kind in dict.fromkeys(kinds)]
    # The first of those that hold most.
    return max(filter(None, tried), key=lambda kind: (len(kind.kept), -len(kind.changes)))


def _try_container(format: str, suffix: str, encoder: Encoder, source: Source) -> Container | None:
    """Return what becomes of a source's streams in a kind of container; None where that cannot hold the video."""
    kind = Container(suffix, format, {}, [])
    if (format, encoder.library) in _UNHEARD or not _holds(kind, encoder, source, {}):
        return None
    for stream in source.others():
        codecs = ("", *_CONVERSIONS) if stream.type == "audio" and stream.codec_context else ("",)
        held = (codec for codec in codecs if _holds(kind, encoder, source, {**kind.kept, stream.index: codec}))
        codec = next(held, None)
        if codec is not None:
            kind.kept[stream.index] = codec
        if codec != "":
            change = f"converted to {codec.upper()}" if codec else "left out"
            name = f"{stream.type} stream {stream.index} ({source.codecs[stream.index]})"
            kind.changes.append(f"{name} is {change}, since it cannot be copied into {suffix}")
    return kind


class ClipWriter:
    """The encoded clip: the packets of its video are given, those of the source's other streams are copied.

    Attributes:
        flags: Of the encoders whose packets it takes.
    """

    def __init__(self, file: Path, source: Source, clip: ClipInfo, kind: Container, encoder: Encoder):
        """Open the file: of `kind`, for all frames of `clip`."""
        self.source, self.clip, self.kept, self.counts = source, clip, kind.kept, collections.Counter()
        self.decoders: dict[int, Any] = {index: source.file.streams[index].codec_context for index in kind.kept}
        self.output = kind.open(file)
        self.output.metadata.update(source.file.metadata)
        self.output.set_chapters(source.file.chapters())
        self.video, self.copies = _add_streams(self.output, encoder, source, kind.kept)
        clip.set_up(self.video.codec_context, encoder, encoder.settings[0])
        metadata = source.video.metadata.items()
        self.video.metadata.update({k: v for k, v in metadata if not k.lower().startswith(_STALE)})
        self.video.disposition = source.video.disposition
        self.output.start_encoding()
        self.flags, self.delay = self.video.codec_context.flags, encoder.reorder
        self.iso = kind.format in _CONTAINERS[ISO]

    def troubles(self) -> str:
        """Say how many packets of other streams are damaged or refused by the container; "" for none."""
        counts = self.counts.items()
        return "; ".join(f"{count} packets of stream {index} {what}" for (index, what), count in counts)

    def write(self, packets: Iterable[av.Packet]) -> None:
        """Write the packets of the video, in the order of coding, and those of other streams; close the file."""
        for index, packet in heapq.merge(self._others(), self._timed(packets), key=_due):
            packet.stream = self.video if index is None else self.copies[index]
            try:
                self.output.mux_one(packet)
            except (FFmpegError, ValueError):
                if index is None:
                    raise
                self.counts[index, "do not fit in and are left out"] += 1
        self.output.close()

    def _timed(self, packets: Iterable[av.Packet]) -> Iterator[tuple[None, av.Packet]]:
        """Yield (None, packet) of the video, with its duration and the time when it is decoded."""
        times, end = self.clip.times, self.clip.times[-1] + self.clip.shown
        durations = {time: later - time for time, later in itertools.pairwise([*times, end])}
        # Frames are decoded in an order that lets each be there when it is shown.
        ahead = self.delay * durations[times[0]]
        due = [times[0] - early * durations[times[0]] for early in range(self.delay, 0, -1)] + times
        for number, packet in enumerate(packets, 1):
            packet.dts, packet.duration = due[number - 1], durations[packet.pts or 0]
            if self.iso and number == len(times):
                # A track of MP4 lasts until its last packet in this order ends, which may not be the last frame shown.
                packet.duration = max(packet.duration, end - packet.dts - ahead)
            yield None, packet

    def _others(self) -> Iterator[tuple[int, av.Packet]]:
        """Yield (stream's index, packet) of the other streams, on the clock of the encoded clip."""
        for packet, offset in self.source.packets():
            index = packet.stream_index
            if index not in self.copies or packet.is_discard and not self.iso:  # other players ignore edit lists
                continue
            self.counts.update([(index, "are damaged")] if packet.is_corrupt else [])
            shift = round(offset / packet.time_base)
            packet.pts, packet.dts = (None if time is None else time + shift for time in (packet.pts, packet.dts))
            yield from ((index, other) for other in (self._convert(packet, index) if self.kept[index] else [packet]))
        for index in filter(self.kept.get, self.kept):
            yield from ((index, other) for other in self._convert(None, index))

    def _convert(self, packet: av.Packet | None, index: int) -> Iterator[av.Packet]:
        """Yield the packets that a packet of sound becomes; None is the end."""
        decoder, encoder = self.decoders[index], self.copies[index].codec_context
        try:
            for frame in decoder.decode(packet):
                yield from encoder.encode(frame)
        except FFmpegError:
            self.counts[index, "cannot be decoded and are left out"] += 1
        yield from encoder.encode(None) if packet is None else ()


def _due(item: tuple[int | None, av.Packet]) -> Fraction | float:
    """Return when a packet is due, in seconds; one without a time at once."""
    packet = item[1]
    time = packet.pts if packet.dts is None else packet.dts
    return -math.inf if time is None else time * packet.time_base


def _add_streams(
    output: OutputContainer, encoder: Encoder, source: Source, kept: Mapping[int, str]
) -> tuple[Any, dict]:
    """Add a video stream and those of a source that are kept: the video stream, and {index in the source: stream}."""
    video, copies = output.add_stream(encoder.library), {}
    for index, codec in kept.items():
        stream: Any = source.file.streams[index]
        if stream.disposition & Disposition.attached_pic and output.format.name == "matroska":
            # There a cover image is an attached file.
            name, kind = (stream.metadata.get(key, default) for key, default in _COVER.items())
            output.add_attachment(name, kind, bytes(source.firsts[index]))
            continue
        if codec:
            # The usual layout of so many channels, where the source names none.
            layout = stream.layout.name.replace(" channels", "c")
            copy = output.add_stream(codec, rate=stream.rate, layout=layout)
        elif source.codecs.get(index) in _HEADERLESS and not stream.codec_context:
            copy = output.add_mux_stream(source.codecs[index], time_base=stream.time_base)
        else:
            copy = output.add_stream_from_template(stream)
        copy.metadata.update(stream.metadata)
        copy.disposition = stream.disposition
        copies[index] = copy
    return video, copies


def _holds(kind: Container, encoder: Encoder, source: Source, kept: Mapping[int, str]) -> bool:
    """Return whether a container takes streams of a source beside an encoded video, by trying it in memory."""
    try:
        with kind.open(io.BytesIO()) as output:
            video, copies = _add_streams(output, encoder, source, kept)
            _BLANK.set_up(video.codec_context, encoder, encoder.settings[0])
            output.start_encoding()
            for index in copies.keys() & source.firsts.keys():
                first = source.firsts[index]
                if kept[index]:
                    first.decode()  # raises where it cannot be converted
                    continue
                packet = av.Packet(bytes(first))
                packet.pts = packet.dts = 0
                packet.time_base, packet.stream = first.time_base, copies[index]
                packet.duration = first.duration
                output.mux_one(packet)
    except (FFmpegError, ValueError, OSError):
        return False
    return True
