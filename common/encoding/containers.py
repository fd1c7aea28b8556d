"""The containers of encoded clips: which of them holds what, and how one is written.

Packets never get a file of their own: those of the encoders and those of the source's other streams go straight into
the container of the encoded clip, each with its own time.
"""

import collections
import functools
import io
import itertools
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
from av.container import OutputContainer
from av.error import FFmpegError

from common.core.files import file_stamp
from common.encoding.codecs import Encoder
from common.encoding.scenes import ClipInfo
from common.encoding.sources import ISO, Source

_SAMPLE = 300  # packets from the start of a source, by which a container is tried

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
    return _choose_container(path, file_stamp(path), encoder)


@functools.cache  # of one clip it is asked for before all is predicted, and when it is encoded
def _choose_container(path: str | Path, stamp: str, encoder: Encoder) -> Container:

    def rank(kind: Container) -> tuple[int, int]:
        return len(kind.kept), -len(kind.changes)

    with Source(path) as source:
        own, suffix = _CONTAINERS.get(source.file.format.name, {}), source.path.suffix.lower()
        kinds = [(format, suffix) for format, suffixes in own.items() if suffix in suffixes]
        kinds += [(format, suffixes[0]) for format, suffixes in list(own.items())[:1]]
        others, best, firsts = source.others(), None, {}
        for packet in itertools.islice(source.demux(*others), _SAMPLE if others else 0):
            firsts.setdefault(packet.stream_index, packet)
        known = kinds or all(source.codecs[stream.index] in _MP4 for stream in others)
        fallbacks = _FALLBACKS if known else _FALLBACKS[::-1]
        for format, suffix in dict.fromkeys([*kinds, *fallbacks]):
            kind = Container(suffix, format, {}, [])
            if (format, encoder.library) in _UNHEARD or not _holds(kind, encoder, source, {}, {}):
                continue
            for stream in others:
                name = f"{stream.type} stream {stream.index} ({source.codecs[stream.index]})"
                codecs = ("", *_CONVERSIONS) if stream.type == "audio" and stream.codec_context else ("",)
                holds = (_holds(kind, encoder, source, {**kind.kept, stream.index: codec}, firsts) for codec in codecs)
                codec = next((codec for codec, held in zip(codecs, holds) if held), None)
                if codec is not None:
                    kind.kept[stream.index] = codec
                if codec != "":
                    change = f"converted to {codec.upper()}" if codec else "left out"
                    kind.changes.append(f"{name} is {change}, since {suffix} cannot hold it")
            if not best or rank(kind) > rank(best):
                best = kind
    assert best, "MP4 and Matroska hold all codecs"
    return best


class ClipWriter:
    """The encoded clip while it is written: the packets of its video are given, those of other streams are copied.

    Attributes:
        video: Its video stream, whose `codec_context` is an encoder.
        flags: Of the encoders whose packets it takes.
    """

    def __init__(self, file: Path, source: Source, clip: ClipInfo, kind: Container, encoder: Encoder):
        """Open the file: of `kind`, for all frames of `clip`."""
        self.clip, self.counts, self.number = clip, collections.Counter(), 0
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
        steps = [later - sooner for sooner, later in itertools.pairwise(clip.times)] + [clip.shown]
        self.durations = dict(zip(clip.times, steps))
        self.iso = kind.format in _CONTAINERS[ISO]
        self.waiting = self._others(source, kind.kept)
        self.next = next(self.waiting, None)

    def troubles(self) -> str:
        """Say how many packets of other streams are damaged or refused by the container; "" for none."""
        counts = self.counts.items()
        return "; ".join(f"{count} packets of stream {index} {what}" for (index, what), count in counts)

    def write(self, packet: av.Packet) -> None:
        """Write the next packet of the video, in the order of coding, after all others that are due before it."""
        early = self.number - self.delay  # frames are decoded in an order that lets each be there when it is shown
        times, self.number = self.clip.times, self.number + 1
        ahead = self.delay * self.durations[times[0]]
        packet.dts = times[early] if early >= 0 else times[0] + early * self.durations[times[0]]
        packet.duration = self.durations[packet.pts or 0]
        if self.iso and self.number == len(times):
            # A track of MP4 lasts until its last packet in this order ends, which may not be the last frame shown.
            packet.duration = max(packet.duration, times[-1] + self.clip.shown - packet.dts - ahead)
        self._copy(packet.dts * self.clip.tick)
        packet.stream = self.video
        self.output.mux_one(packet)

    def finish(self) -> None:
        """Write what is left and close the file."""
        self._copy(None)
        self.output.close()

    def _copy(self, until: Fraction | None) -> None:
        while self.next:
            index, packet = self.next
            time = packet.pts if packet.dts is None else packet.dts
            if until is not None and time is not None and time * packet.time_base > until:
                return
            packet.stream = self.copies[index]
            try:
                self.output.mux_one(packet)
            except (FFmpegError, ValueError):
                self.counts[index, "do not fit in and are left out"] += 1
            self.next = next(self.waiting, None)

    def _others(self, source: Source, kept: Mapping[int, str]) -> Iterator[tuple[int, av.Packet]]:
        """Yield (stream's index, packet) of the other streams, on the clock of the encoded clip."""
        for packet, offset in source.packets():
            index = packet.stream_index
            if index not in self.copies or packet.is_discard and not self.iso:  # other players ignore edit lists
                continue
            self.counts.update([(index, "are damaged")] if packet.is_corrupt else [])
            shift = round(offset / packet.time_base)
            packet.pts, packet.dts = (None if time is None else time + shift for time in (packet.pts, packet.dts))
            yield from ((index, other) for other in (self._convert(packet, index) if kept[index] else [packet]))
        for index in filter(kept.get, kept):
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


def _add_streams(
    output: OutputContainer, encoder: Encoder, source: Source, kept: Mapping[int, str]
) -> tuple[Any, dict]:
    """Add a video stream and those of a source that are kept: the video stream, and {index in the source: stream}."""
    video, copies = output.add_stream(encoder.library), {}
    for index, codec in kept.items():
        stream: Any = source.file.streams[index]
        if index in source.covers and output.format.name == "matroska":  # where a cover image is an attached file
            name, kind = (stream.metadata.get(key, default) for key, default in _COVER.items())
            output.add_attachment(name, kind, source.covers[index])
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


def _holds(
    kind: Container, encoder: Encoder, source: Source, kept: Mapping[int, str], firsts: Mapping[int, av.Packet]
) -> bool:
    """Return whether a container takes streams of a source beside an encoded video, by trying it in memory.

    firsts: The first packets of the source's streams, by their indices.
    """
    try:
        with kind.open(io.BytesIO()) as output:
            video, copies = _add_streams(output, encoder, source, kept)
            encoder.set_up(video.codec_context, encoder.settings[0], (64, 64), Fraction(25), Fraction(1, 25))
            output.start_encoding()
            for index in copies.keys() & firsts.keys():
                first, packet = firsts[index], av.Packet(bytes(firsts[index]))
                if kept[index]:
                    first.decode()  # raises where it cannot be converted
                    continue
                packet.pts = packet.dts = 0
                packet.time_base, packet.stream = first.time_base, copies[index]
                packet.duration = first.duration
                output.mux_one(packet)
    except (FFmpegError, ValueError, OSError):
        return False
    return True
