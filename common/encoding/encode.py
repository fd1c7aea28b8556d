"""Encode images and clips at the QPs that were predicted for them, and measure what that saves.

H.264 is encoded as VideoSet encoded its clips, which its levels refer to.  Another codec gets the coarsest setting
whose PSNR of luma is at least that of this H.264, found on the image or scene itself.
"""

import functools
import math
import os
import shutil
import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from common.core import threads
from common.core.errors import UserError
from common.core.files import atomic_write
from common.core.names import PART
from common.core.stopping import discard
from common.core.terminal import print_warning, progress
from common.data.levels import nearest_qp
from common.encoding import scenes
from common.encoding.codecs import find_encoder
from common.encoding.containers import ClipWriter, choose_container
from common.encoding.matching import describe_mapping, match_quality
from common.encoding.parts import EncodedScene, encode_scenes, forget_scenes
from common.encoding.sources import Source
from common.encoding.targets import check_not_input, file_ids
from common.media import ffmpeg
from common.media.clips import compare_streams
from common.media.ffmpeg_process import watch_kills
from common.media.images import open_image, read_image
from common.media.metrics import HIGHEST_DB, compare_images, luma, psnr

CORES_A_SCENE = 2  # that its encoder keeps busy


def encode_image(path: str | Path, qp: float, target: Path, codec: str, baseline: int | None = None) -> dict:
    """Encode an image at the whole QP nearest to `qp`, halves upwards, from 1 to 51, and return a row of the report.

    Transparency is dropped, 16-bit samples lose their low byte, and the EXIF orientation is applied.  JPEG and AVIF
    keep an RGB colour profile.  H.264 and HEVC need even sizes: the last row or column is repeated.

    Args:
        target: The file, as `common.encoding.targets.target_of` names it; an existing one is replaced.
        codec: One of `common.encoding.config.CODECS`.
        baseline: A QP, 1 to 51, to compare the size with.

    Returns:
        input, target, codec, qp (the whole one), parameter and value of the encoder's own setting, mapping (how it was
        found; "" for H.264), bytes (of the file), bits a pixel, psnr luma and psnr rgb (dB), ssim rgb (the mean of R, G
        and B) and vmaf (None where the image is too small), baseline qp, baseline value, baseline bytes, saving % (None
        without a baseline), warning ("" for none).

    Raises:
        UserError: The image cannot be read or encoded, or the target is the input.
    """
    check_not_input(target, file_ids([path]))
    encoder, pixels = find_encoder(codec, clip=False), read_image(path)
    profile, deep = _stored_format(path)
    qp = nearest_qp(qp, clip=True)
    with tempfile.TemporaryDirectory() as folder:

        @functools.cache
        def encoded(value: int) -> Path:
            file = Path(folder, f"{value}{encoder.suffix}")
            if encoder.save:
                with open(file, "wb") as opened:
                    encoder.save(pixels, opened, value, profile)
            else:
                ffmpeg.encode_frame(pixels, file, value, encoder.output)
            return file

        def decoded(value: int) -> np.ndarray:
            file = encoded(value)
            return read_image(file) if encoder.save else next(ffmpeg.decode_frames(file, pixels.shape[:2]))

        def luma_db(image: np.ndarray) -> float:
            return min(psnr(pixels, image, luma), HIGHEST_DB)

        def setting(qp: int) -> tuple[int, str]:
            if encoder.parameter == "qp":
                return qp, ""
            wanted = luma_db(ffmpeg.encode_intra(pixels, qp).pixels)
            value, db = match_quality(encoder.settings, lambda value: luma_db(decoded(value)), wanted)
            return value, describe_mapping(db, wanted, qp)

        value, mapping = setting(qp)
        size = encoded(value).stat().st_size
        row = {"input": str(path), "target": str(target), "codec": codec, "qp": qp}
        row |= {"parameter": encoder.parameter, "value": value, "mapping": mapping, "bytes": size}
        row["bits a pixel"] = 8 * size / pixels[..., 0].size
        baseline_value = None if baseline is None else setting(baseline)[0]
        baseline_bytes = None if baseline_value is None else encoded(baseline_value).stat().st_size
        row |= _saving(size, baseline, baseline_value, baseline_bytes)
        image = decoded(value)
        row["vmaf"] = ffmpeg.vmaf(pixels, image) if min(pixels.shape[:2]) > 16 else None
        quality = compare_images(pixels, image)  # last, since only ffmpeg can be stopped
        row |= {"ssim rgb": quality.pop("ssim"), **quality}
        with atomic_write(target) as temporary:
            shutil.copyfile(encoded(value), temporary)
    return row | {"warning": "16 bits a sample, coded in 8" if deep else ""}


def encode_clip(
    clip: scenes.ClipInfo,
    qps: Sequence[int],
    target: Path,
    codec: str,
    baseline: int | None = None,
    jobs: int | None = None,
    resume: bool = False,
) -> dict:
    """Encode a clip, each scene at a QP of its own, and return a row of the report.

    The encoded clip has the same frames at the same times, upright, in 8-bit 4:2:0, even in size, with its colour tags
    and pixel shape, and the clip's other streams as they are.  VideoSet's levels refer to 8 bits a sample; more become
    8.  HDR (PQ, HLG) keeps its tags, or it would be shown in wrong colours; its mastering data and Dolby Vision's are
    dropped, and PSNR, SSIM and VMAF treat its samples as SDR.

    What the encoded clip will not keep is printed before encoding, and after it what was damaged.  Until the clip is
    done, its complete scenes are kept beside it; they stay where the program is stopped or killed.

    Args:
        qps: The QP of each scene, from 1 to 51.
        target, codec, baseline: As `encode_image`.
        jobs: Scenes that are encoded at a time, which changes no byte; by default as many as keep all cores busy.
        resume: Use the scenes that an earlier call with the same settings has completed.

    Returns:
        As `encode_image`, with these differences: qp, value and mapping of the scene with the lowest QP; bytes and kb/s
        of the video only; psnr luma, the mean of all frames, and lowest psnr luma; ssim luma and vmaf, means; frames,
        seconds, and scenes: [{"start", "end", "qp", "value", "mapping"}, ...], both frames included.

    Raises:
        UserError: As `encode_image`; or the quality of the encoded clip is far from its QPs (see `lowest_db`).
    """
    path, encoder = clip.path, find_encoder(codec, clip=True)
    check_not_input(target, file_ids([path]))
    folder, alive = Path(os.path.abspath(target)).with_name(f"{PART}{target.name}.scenes"), watch_kills()
    if not resume:
        discard(folder)
    wanted = [[qp] if baseline is None else [qp, baseline] for qp in qps]
    bar = functools.partial(progress, total=len(clip.times), unit="frame", leave=False)
    jobs = jobs or max(1, threads.CORES // CORES_A_SCENE)
    try:
        with Source(path) as source, atomic_write(target) as temporary:
            kind = choose_container(path, encoder)
            lost = "; ".join(filter(None, (clip.warning, *kind.changes)))
            print_warning(path, lost)
            writer = ClipWriter(temporary, source, clip, kind, encoder)
            with bar(desc=f"{Path(path).name}: encoding") as frames:
                parts = encode_scenes(clip, encoder, wanted, writer.flags, folder, jobs, frames.update)
            writer.write(packet for part in parts for packet in part.packets(clip.tick))
            print_warning(path, writer.troubles())
            with bar(desc=f"{Path(path).name}: measuring") as frames:
                quality = _measure(clip, temporary, parts, f"measuring {path}", frames.update)
    except UserError:
        alive()  # raises where the program is being stopped
        forget_scenes(folder)
        raise
    forget_scenes(folder)
    size, baseline_size = (sum(part.sizes[place] for part in parts) for place in (0, -1))
    lowest = min((part.row for part in parts), key=lambda row: row["qp"])
    row = {"input": str(path), "target": str(target), "codec": codec, "qp": lowest["qp"]}
    row |= {"parameter": encoder.parameter, "value": lowest["value"], "mapping": lowest["mapping"], "bytes": size}
    row["bits a pixel"] = 8 * size / (math.prod(clip.format.size) * len(clip.times))
    row["kb/s"] = 8e-3 * size / clip.seconds
    row |= quality | {"frames": len(clip.times), "seconds": clip.seconds}
    row |= _saving(size, baseline, None, None if baseline is None else baseline_size)
    warning = "; ".join(filter(None, (lost, writer.troubles())))
    return row | {"scenes": [part.row for part in parts], "warning": warning}


def _measure(
    clip: scenes.ClipInfo, file: Path, parts: list[EncodedScene], task: str, progress: Callable[[], object]
) -> dict:
    """Return the columns of the quality of an encoded clip.  Raises UserError where it is far from its QPs."""
    quality = compare_streams(ffmpeg.clip_input(file), clip.frames(), clip.encoded_size, task, progress)
    dbs = quality["psnr"]
    if len(dbs) != len(clip.times):
        raise UserError(f"{task}: {len(dbs)} frames came of {len(clip.times)}; copy the clip again")
    for part in parts:
        least = lowest_db(part.row["qp"])
        for number in range(part.row["start"], part.row["end"] + 1):
            if dbs[number] < least:
                raise UserError(
                    f"{task}: frame {number} has a PSNR of {dbs[number]:.1f} dB, but QP {part.row['qp']} gives "
                    f"{least:.1f} dB or more; nothing is kept, please report this with the clip"
                )
    row = {"psnr luma": statistics.fmean(dbs), "lowest psnr luma": min(dbs), "ssim luma": quality.get("ssim")}
    return row | {"vmaf": quality.get("vmaf")}


def lowest_db(qp: int) -> float:
    """Return the PSNR of luma, in dB, that each frame encoded at a QP has: a mean error of one quantiser step.

    H.264 quantises with the step 2 ** ((QP - 4) / 6), with an error of half a step at most for nearly all coefficients
    of an orthonormal transform; 1 more is for rounding.  In practice frames are 6 dB or more above this.
    """
    return 10 * math.log10(255**2 / (2 ** ((qp - 4) / 3) + 1))


def _saving(size: int, qp: int | None, value: int | None, baseline_size: int | None) -> dict:
    """Return the columns that compare a size with that at the baseline."""
    saving = None if baseline_size is None else 100 * (1 - size / baseline_size)
    return {"baseline qp": qp, "baseline value": value, "baseline bytes": baseline_size, "saving %": saving}


def _stored_format(path: str | Path) -> tuple[bytes | None, bool]:
    """Return an image's RGB colour profile (ICC), if it has one, and whether its samples have 16 bits."""
    with open_image(path) as image:
        profile = image.info.get("icc_profile") or b""
        stored = str(image.tile)
    return profile if profile[16:20] == b"RGB " else None, ";16" in stored or ", 65535)" in stored
