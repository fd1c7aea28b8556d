"""Pictures coded at constant QPs: how good and how large each is, found once and kept on disk.

A picture has a folder of its own, called by a digest of its file and of the coder's settings, so that neither a renamed
picture nor other settings mix things up: `27.264` is the intra frame at QP 27, `27.json` what was measured of it,
`raw.json` of the picture itself.  Interrupted, the work goes on where it stopped.
"""

import hashlib
import json
from pathlib import Path

from common.core.files import atomic_write, write_json
from common.core.threads import parallel_map
from common.media import ffmpeg, metrics
from common.media.ffmpeg_process import kill_all
from common.media.images import read_image


class EncodedImages:
    """The coded pictures kept in `folder`."""

    def __init__(self, folder):
        self.folder = Path(folder)

    def measure(self, wanted, jobs):
        """Code and measure what is not there yet.  wanted: {picture's path: QPs}; jobs: how many at a time.

        Returns {path: ({QP: {"psnr luma", "psnr rgb" (dB, at most 100), "ssim", "vmaf" (0..100), "bytes"}}, SI)};
        SI is `metrics.spatial_information` of the picture.  Raises UserError as `common.media.ffmpeg`.
        """
        places, together = {picture: self._place(picture) for picture in wanted}, {}
        for picture, place in places.items():  # two files may hold one picture
            together.setdefault(place, (picture, set()))[1].update(wanted[picture])
        items = [(place, *what) for place, what in together.items()]
        done = dict(
            zip(together, parallel_map(lambda item: self._measure(*item), items, jobs, "picture", stop=kill_all))
        )
        return {picture: done[place] for picture, place in places.items()}

    def decode(self, picture, qp):
        """The picture as coded at a QP that was measured: uint8 RGB (H, W, 3)."""
        return next(ffmpeg.decode_frames(self._place(picture) / f"{qp}.264", read_image(picture).shape[:2]))

    def _place(self, picture):
        settings = json.dumps(ffmpeg.VIDEOSET_X264).encode()
        return self.folder / hashlib.sha256(Path(picture).read_bytes() + settings).hexdigest()[:32]

    def _measure(self, place, picture, qps):
        pixels = None
        found = {name: _read(place / f"{name}.json") for name in ("raw", *sorted(qps))}
        for name in found:
            if found[name] is None:
                pixels = read_image(picture) if pixels is None else pixels
                found[name] = (
                    {"SI": metrics.spatial_information(pixels)} if name == "raw" else _code(pixels, name, place)
                )
                write_json(place / f"{name}.json", found[name])  # last: what has it is whole
        return found, found.pop("raw")["SI"]


def _code(pixels, qp, place):
    coded = ffmpeg.encode_intra(pixels, qp, with_vmaf=True)
    with atomic_write(place / f"{qp}.264") as temporary:
        temporary.write_bytes(coded.bitstream)
    return {**metrics.compare_images(pixels, coded.pixels), "vmaf": coded.vmaf, "bytes": len(coded.bitstream)}


def _read(file):
    try:
        return json.loads(file.read_text())
    except (FileNotFoundError, ValueError):
        return None
