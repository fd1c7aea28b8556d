"""A clip as a source of packets: its streams, and their times on one clock.  The ffmpeg program decodes its frames."""

import collections
import functools
import itertools
import os
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.error import FFmpegError
from av.stream import Disposition

from common.core.errors import UserError
from common.media.clips import stream_codecs

ISO = "mov,mp4,m4a,3gp,3g2,mj2"  # ffmpeg's name of MP4 and what is like it
_SAMPLE = 300  # packets from the start of a clip
_FREE_CLOCKS = ("mpeg", "mpegts")  # their clocks start anywhere, and jump where files were put together
_BACK, _FORWARD = Fraction(-1, 10), 10  # seconds that one of their streams may go without a jump, as in ffmpeg


class Source:
    """A clip, opened for its packets.  Its first video stream that is no cover image is the one that is encoded."""

    def __init__(self, path: str | Path):
        """Open a clip.  Raises UserError where it is none."""
        self.path = Path(os.path.abspath(path))
        try:
            # A playlist must not open the network; teletext keeps its own times.
            options = {"protocol_whitelist": "file", "fix_teletext_pts": "0"}
            self.file = av.open(f"file:{self.path}", container_options=options, metadata_errors="replace")
        except (FFmpegError, OSError) as error:
            raise UserError(f"{path}: cannot be opened as a clip ({error.strerror})") from None
        videos = [stream for stream in self.file.streams.video if not stream.disposition & Disposition.attached_pic]
        if not videos:
            self.file.close()
            raise UserError(f"{path}: it has no video stream; expected a clip")
        self.video = videos[0]
        self.free_clock = self.file.format.name in _FREE_CLOCKS

    def __enter__(self) -> "Source":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def others(self) -> list[Any]:
        """Return its other streams, without timecodes and chapters, which muxers make of the metadata."""
        chapters = self.file.format.name == ISO and self.file.chapters()

        def is_made(stream: Any) -> bool:
            title = chapters and stream.metadata.get("handler_name") == "SubtitleHandler"
            return stream.type == "data" and bool("timecode" in stream.metadata or title)

        return [stream for stream in self.file.streams if stream.index != self.video.index and not is_made(stream)]

    @functools.cached_property
    def codecs(self) -> dict[int, str]:
        """ffmpeg's names of the codecs of its streams, by their indices, also where PyAV does not know them."""
        return stream_codecs(self.path)

    @functools.cached_property
    def firsts(self) -> dict[int, av.Packet]:
        """The first packets of its other streams, by their indices, where they come soon; cover images do."""
        again, firsts = Source(self.path), {}  # not closed: it decodes its packets
        others = again.others()
        for packet in itertools.islice(again.demux(*others), _SAMPLE if others else 0):
            firsts.setdefault(packet.stream_index, packet)
        return firsts

    def demux(self, *streams: Any) -> Iterator[av.Packet]:
        """Yield the packets of streams, by default of all.  Raises UserError where the file is damaged."""
        try:
            yield from self.file.demux(*streams)
        except (FFmpegError, OSError) as error:
            raise UserError(f"{self.path}: damaged ({error.strerror}); copy the clip again") from None

    def packets(self) -> Iterator[tuple[av.Packet, Fraction]]:
        """Yield its packets in the order of the file, and for each the seconds that put it on one clock.

        That is the file's own clock; one that starts anywhere begins at 0, and its jumps are taken out.
        """
        offset, ends = Fraction(-(self.file.start_time or 0), av.time_base) if self.free_clock else Fraction(0), {}
        for packet in self.demux():
            if not packet.size:  # the last of a stream
                continue
            if packet.pts is None and packet.dts is None:  # a cover image
                packet.pts = packet.dts = 0
            time = packet.dts if packet.dts is not None else packet.pts or 0
            if self.free_clock and packet.stream.type in ("video", "audio"):
                now = time * packet.time_base + offset
                due = ends.get(packet.stream_index, now)
                if not _BACK <= now - due <= _FORWARD:
                    offset, now = offset + due - now, due
                ends[packet.stream_index] = now + (packet.duration or 0) * packet.time_base
            yield packet, offset

    def frame_times(self, times: Sequence[int], tick: Fraction) -> list[int]:
        """Return the times of its frames, given as the file has them, on the clock of `packets`."""
        if not self.free_clock:
            return list(times)
        packets = [(one.pts, added) for one, added in self.packets() if one.stream_index == self.video.index]
        if len(packets) == len(times) and None not in dict(packets):
            # A decoder guesses the time of a frame that it gives late, after the times have jumped back.
            return sorted((pts or 0) + round(added / tick) for pts, added in packets)
        offsets = collections.defaultdict(collections.deque)
        for pts, added in packets:
            offsets[pts].append(added)
        offset, moved = Fraction(-(self.file.start_time or 0), av.time_base), []
        for time in times:
            offset = offsets[time].popleft() if offsets[time] else offset
            moved.append(time + round(offset / tick))
        return moved
