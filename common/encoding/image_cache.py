"""Images encoded at constant QPs, with how good and how large each is: found once and kept on disk.

An image has a folder of its own, named by a digest of its file and of the encoder's settings, so that neither a renamed
image nor other settings mix things up: `27.264` is the intra frame at QP 27, `27.json` holds its measurements,
`raw.json` those of the image itself.  An interrupted run is continued by the next one.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from common.core.files import atomic_write, read_json, write_json
from common.core.parallel import parallel_map
from common.media import ffmpeg, metrics
from common.media.ffmpeg_process import kill_all
from common.media.images import read_image


class EncodedImageCache:
    """The encoded images in `folder`."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)

    def measure(self, wanted: Mapping[Path, Iterable[int]], jobs: int) -> dict[Path, tuple[dict[int, dict], float]]:
        """Encode and measure what is not in the cache yet.  Raises UserError where an image cannot be read or encoded.

        Args:
            wanted: {image's path: QPs, 0 to 51}.
            jobs: How many images are encoded at a time.

        Returns:
            {path: ({QP: {"psnr luma", "psnr rgb", "ssim", "vmaf" (0 to 100), "bytes"}}, SI)}; the first three as
            `metrics.compare_images`, SI as `metrics.spatial_information`.
        """
        folders, qps = {image: self.folder_of(image) for image in wanted}, {}
        for image, folder in folders.items():  # two files may hold one image
            qps.setdefault(folder, (image, set()))[1].update(wanted[image])
        items = [(folder, *item) for folder, item in qps.items()]
        measured = parallel_map(lambda item: self._measure(*item), items, jobs, "image", stop=kill_all)
        results = dict(zip(qps, measured))
        return {image: results[folder] for image, folder in folders.items()}

    def decode(self, image: Path, qp: int) -> np.ndarray:
        """Return an image as encoded at a QP that was measured, uint8 RGB (H, W, 3)."""
        return next(ffmpeg.decode_frames(self.folder_of(image) / f"{qp}.264", read_image(image).shape[:2]))

    def folder_of(self, image: Path) -> Path:
        """Return the folder of an image, which may not exist yet."""
        settings = json.dumps(ffmpeg.VIDEOSET_X264).encode()
        return self.folder / hashlib.sha256(Path(image).read_bytes() + settings).hexdigest()[:32]

    def _measure(self, folder, image, qps):
        pixels, results = None, {}
        for name in ("raw", *sorted(qps)):
            file = folder / f"{name}.json"
            result = read_json(file)
            if result is None:
                pixels = read_image(image) if pixels is None else pixels
                result = {"SI": metrics.spatial_information(pixels)} if name == "raw" else _encode(pixels, name, folder)
                write_json(file, result)  # last: its presence says that all is there
            results[name] = result
        return results, results.pop("raw")["SI"]


def _encode(pixels, qp, folder):
    encoded = ffmpeg.encode_intra(pixels, qp, with_vmaf=True)
    with atomic_write(folder / f"{qp}.264") as temporary:
        temporary.write_bytes(encoded.bitstream)
    return {**metrics.compare_images(pixels, encoded.pixels), "vmaf": encoded.vmaf, "bytes": len(encoded.bitstream)}
