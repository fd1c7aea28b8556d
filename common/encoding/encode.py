"""Encode images and clips at the QPs that were predicted for them, and measure what that saves.

H.264 is encoded as VideoSet encoded its clips, which its levels refer to.  Another codec gets the coarsest setting
whose PSNR of luma is at least that of this H.264, found on the image or scene itself.
"""

import contextlib
import functools
import os
import shutil
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
from tqdm import tqdm

from common.core.errors import UserError
from common.core.files import atomic_write
from common.data.levels import nearest_qp
from common.encoding import scenes
from common.encoding.codecs import H264, Encoder, find_encoder, match_quality
from common.encoding.targets import check_not_input, file_ids
from common.media import ffmpeg
from common.media.clips import compare_streams
from common.media.ffmpeg_process import run
from common.media.images import open_image, read_image
from common.media.metrics import HIGHEST_DB, compare_images, luma, psnr

# The setting that is as good as a QP is found on the first frames of a scene, up to this number.  They are encoded as
# the scene will be, frame types included: an encoder loses little on a frame that repeats the one before it.
SAMPLE = 120
_SCENE_QP = {"lowest": min, "median": statistics.median}


def encode_image(path: str | Path, qp: float, target: Path, codec: str, baseline: float | None = None) -> dict:
    """Encode an image at the whole QP nearest to `qp`, halves upwards, from 1 to 51, and return a row of the report.

    Transparency is dropped, 16-bit samples lose their low byte, and the EXIF orientation is applied.  JPEG and AVIF
    keep an RGB colour profile.  H.264 and HEVC need even sizes: the last row or column is repeated.

    Args:
        target: The file, as `common.encoding.targets.target_of` names it; an existing one is replaced.
        codec: One of `common.encoding.config.CODECS`.
        baseline: A QP to compare the size with.

    Returns:
        input, target, codec, level (the QP given), qp (the whole one), parameter and value of the encoder's own
        setting, mapping (how it was found; "" for H.264), bytes (of the file), bits a pixel, psnr luma and psnr rgb
        (dB), ssim rgb (the mean of R, G and B) and vmaf (None where the image is too small), baseline qp, baseline
        value, baseline bytes, saving % (None without a baseline), warning ("" for none).

    Raises:
        UserError: The image cannot be read or encoded, or the target is the input.
    """
    check_not_input(target, file_ids([path]))
    encoder, pixels = find_encoder(codec, clip=False), read_image(path)
    profile, deep = _stored_format(path)
    whole_qp, baseline_qp = nearest_qp(qp, clip=True), _whole(baseline)
    with tempfile.TemporaryDirectory() as folder:

        @functools.cache
        def encoded(value: int) -> Path:
            file = Path(folder, f"{value}{encoder.suffix}")
            if encoder.save:
                with open(file, "wb") as opened:
                    encoder.save(pixels, opened, value, profile)
            elif encoder.output:
                ffmpeg.encode_frame(pixels, file, value, encoder.output)
            return file

        def decoded(value: int) -> np.ndarray:
            file = encoded(value)
            return read_image(file) if encoder.save else next(ffmpeg.decode_frames(file, pixels.shape[:2]))

        def luma_db(image: np.ndarray) -> float:
            return min(psnr(pixels, image, luma), HIGHEST_DB)

        def setting(qp: int) -> tuple[int, str]:
            if encoder is H264:
                return qp, ""
            wanted = luma_db(ffmpeg.encode_intra(pixels, qp).pixels)
            value, db = match_quality(encoder.settings, lambda value: luma_db(decoded(value)), wanted)
            return value, _describe_mapping(db, wanted, qp)

        value, mapping = setting(whole_qp)
        size = encoded(value).stat().st_size
        row = {"input": str(path), "target": str(target), "codec": codec, "level": float(qp), "qp": whole_qp}
        row |= {"parameter": encoder.parameter, "value": value, "mapping": mapping, "bytes": size}
        row["bits a pixel"] = 8 * size / pixels[..., 0].size
        baseline_value = None if baseline_qp is None else setting(baseline_qp)[0]
        baseline_bytes = None if baseline_value is None else encoded(baseline_value).stat().st_size
        row |= _saving(size, baseline_qp, baseline_value, baseline_bytes)
        image = decoded(value)
        row["vmaf"] = ffmpeg.vmaf(pixels, image) if min(pixels.shape[:2]) > 16 else None
        quality = compare_images(pixels, image)  # last, since only ffmpeg can be stopped
        row |= {"ssim rgb": quality.pop("ssim"), **quality}
        with atomic_write(target) as temporary:
            shutil.copyfile(encoded(value), temporary)
    return row | {"warning": "16 bits a sample, coded in 8" if deep else ""}


def encode_clip(
    path: str | Path,
    qps: Mapping[int, float],
    target: Path,
    codec: str,
    baseline: float | None = None,
    scene_qp: str = "lowest",
) -> dict:
    """Encode a clip, each scene at a QP of its own, and return a row of the report.

    The encoded clip has the same frames at the same times, upright, in 8-bit 4:2:0, even in size, with its colour tags
    and pixel shape; audio and subtitles are copied.  VideoSet's levels refer to 8 bits a sample; more become 8, with a
    warning.  HDR (PQ, HLG) keeps its tags, or it would be shown in wrong colours; its mastering data and Dolby
    Vision's are dropped, and PSNR, SSIM and VMAF treat its samples as SDR.  Raises UserError as `encode_image`.

    Args:
        qps: {frame's number from 0: predicted QP}, at least one.
        target, codec, baseline: As `encode_image`.
        scene_qp: As `scene_qps`.

    Returns:
        As `encode_image`, with these differences: qp, value and mapping of the scene with the lowest QP; bytes and kb/s
        of the video only; psnr luma, the mean of all frames, and lowest psnr luma; ssim luma and vmaf, means; frames,
        seconds, and scenes: [{"start", "end", "qp", "value", "mapping"}, ...], both frames included.
    """
    given, target = target, Path(os.path.abspath(target))
    check_not_input(target, file_ids([path]))
    encoder, clip = find_encoder(codec, clip=True), scenes.analyse_clip(path)
    chosen_qps, baseline_qp = scene_qps(clip.scenes, qps, scene_qp), _whole(baseline)
    wanted = [{qp} if baseline_qp is None else {qp, baseline_qp} for qp in chosen_qps]
    passes = 2 if encoder is H264 else 3
    bar = tqdm(total=passes * len(clip.times), unit="frame", desc=Path(path).name, disable=None, leave=False)
    target.parent.mkdir(parents=True, exist_ok=True)
    with bar, _work_folder(target) as work:
        settings = _scene_settings(clip, encoder, wanted, work, bar.update)
        task = f"encoding {path} in {encoder.title}"
        values = [{value for value, _ in setting.values()} for setting in settings]
        encoded = scenes.encode_scenes(clip, encoder, values, work, task, bar.update)
        files = _files_at(chosen_qps, settings, encoded)
        quality = _join_and_compare(path, clip, files, target, work, task)
        bar.update(len(clip.times))
        size, baseline_bytes = scenes.video_bytes(files), None
        if baseline_qp is not None:
            baseline_bytes = scenes.video_bytes(_files_at([baseline_qp] * len(files), settings, encoded))
    parts = [
        {"start": first, "end": last, "qp": qp, "value": setting[qp][0], "mapping": setting[qp][1]}
        for (first, last), qp, setting in zip(clip.scenes, chosen_qps, settings)
    ]
    lowest = min(parts, key=lambda part: part["qp"])
    row = {"input": str(path), "target": str(given), "codec": codec, "level": min(qps.values()), "qp": lowest["qp"]}
    row |= {"parameter": encoder.parameter, "value": lowest["value"], "mapping": lowest["mapping"]}
    row |= _size_and_quality(clip, size, quality) | _saving(size, baseline_qp, None, baseline_bytes)
    return row | {"scenes": parts, "warning": clip.warning}


def _files_at(qps: list[int], settings: list[dict], encoded: list[dict[int, Path]]) -> list[Path]:
    """Return the file of each scene at its QP."""
    return [files[setting[qp][0]] for files, setting, qp in zip(encoded, settings, qps)]


def _join_and_compare(
    path: str | Path, clip: scenes.ClipInfo, files: list[Path], target: Path, work: Path, task: str
) -> dict:
    """Write `target` of the files of its scenes, whole or not at all, and return its quality as `compare_streams`."""
    with atomic_write(target) as temporary:
        graph = scenes.join_scenes(clip, files, temporary, work)
        run(graph, task, timeout=scenes.FILM_TIMEOUT, target=temporary)
        streams, with_vmaf = (ffmpeg.clip_input(temporary), clip.frames()), min(clip.encoded_size) > 16
        quality = compare_streams(*streams, f"measuring {path}", with_vmaf, scenes.FILM_TIMEOUT)
        if (count := len(quality["psnr"])) != len(clip.times):
            raise UserError(f"{task}: {count} frames came of {len(clip.times)}; copy the clip again")
    return quality


def _size_and_quality(clip: scenes.ClipInfo, size: int, quality: dict) -> dict:
    """Return these columns of a clip's row.  size: bytes of its video; quality: of `compare_streams`."""
    (height, width), dbs = clip.size, quality["psnr"]
    seconds = float((clip.times[-1] - clip.times[0]) * clip.tick + 1 / clip.rate)
    row = {"bytes": size, "bits a pixel": 8 * size / (height * width * len(dbs)), "kb/s": 8e-3 * size / seconds}
    row |= {"psnr luma": statistics.fmean(dbs), "lowest psnr luma": min(dbs), "ssim luma": quality["ssim"]}
    return row | {"vmaf": quality["vmaf"], "frames": len(dbs), "seconds": seconds}


def scene_qps(parts: list[tuple[int, int]], qps: Mapping[int, float], scene_qp: str = "lowest") -> list[int]:
    """Return the whole QP, 1 to 51, at which each scene is encoded.

    A scene without a predicted frame gets the QP of the nearest such frame before it, or else after it.

    Args:
        parts: [(first frame, last frame), ...].
        qps: {frame's number: predicted QP}, at least one.
        scene_qp: One of `common.encoding.config.SCENE_QPS`, applied to the predicted frames of a scene.
    """
    predicted, whole = sorted(qps.items()), []
    for first, last in parts:
        inside = [qp for number, qp in predicted if first <= number <= last]
        before = [qp for number, qp in predicted if number < first]
        whole.append(nearest_qp(_SCENE_QP[scene_qp](inside or before[-1:] or [predicted[0][1]]), clip=True))
    return whole


def _scene_settings(
    clip: scenes.ClipInfo, encoder: Encoder, wanted: list[set[int]], work: Path, progress: Callable[[], object]
) -> list[dict[int, tuple[int, str]]]:
    """Return {QP: (the encoder's setting, how it was found)} for each scene.  wanted: for each scene, its QPs."""
    if encoder is H264:
        return [{qp: (qp, "") for qp in qps} for qps in wanted]
    settings = []
    task = f"finding what {encoder.title} needs for {clip.path}"
    sample, trials = work / "sample.ivf", work / "trials"

    def mean_db(encoder: Encoder, value: int, file: Path) -> float:
        run(clip.ivf_output(encoder, str(sample), file, value), task, timeout=ffmpeg.CLIP_TIMEOUT)
        encoded, original = ffmpeg.clip_input(file), clip.ivf_stream(str(sample))
        return statistics.fmean(compare_streams(encoded, original, task, with_vmaf=False)["psnr"])

    for scene, first, frames in scenes.each_scene(clip, task, progress):
        last = min(clip.scenes[scene][1], first + SAMPLE - 1)
        with open(sample, "wb") as file:
            file.write(clip.ivf_header)
            for number, pixels in frames:
                if number <= last:
                    file.write(clip.ivf_frame(pixels, number, first))

        @functools.cache
        def quality_of(value: int, scene: int = scene) -> float:
            return mean_db(encoder, value, scenes.scene_file(trials, scene, value))

        trials.mkdir()
        matches = {}
        for qp in sorted(wanted[scene]):
            due = mean_db(H264, qp, trials / "h264.mp4")
            value, db = match_quality(encoder.settings, quality_of, due)
            matches[qp] = value, _describe_mapping(db, due, qp, f" on frames {first} to {last}")
        if last == clip.scenes[scene][1]:  # the sample is the whole scene
            for value in {value for value, _ in matches.values()}:
                scenes.scene_file(trials, scene, value).replace(scenes.scene_file(work, scene, value))
        settings.append(matches)
        shutil.rmtree(trials)
    return settings


def _whole(qp: float | None) -> int | None:
    return None if qp is None else nearest_qp(qp, clip=True)


def _describe_mapping(db: float, wanted: float, qp: int, where: str = "") -> str:
    result = "mapped by equal PSNR" if db >= wanted else "its best, below the PSNR wanted"
    return f"{result}{where} ({db:.2f} dB against {wanted:.2f} dB of H.264 at QP {qp})"


def _saving(size: int, baseline_qp: int | None, baseline_value: int | None, baseline_bytes: int | None) -> dict:
    saving = None if baseline_bytes is None else 100 * (1 - size / baseline_bytes)
    columns = ("baseline qp", "baseline value", "baseline bytes", "saving %")
    return dict(zip(columns, (baseline_qp, baseline_value, baseline_bytes, saving)))


def _stored_format(path: str | Path) -> tuple[bytes | None, bool]:
    """Return an image's RGB colour profile (ICC), if it has one, and whether its samples have 16 bits."""
    with open_image(path) as image:
        profile = image.info.get("icc_profile") or b""
        stored = str(image.tile)
    return profile if profile[16:20] == b"RGB " else None, ";16" in stored or ", 65535)" in stored


@contextlib.contextmanager
def _work_folder(target: Path) -> Iterator[Path]:
    """Make a folder next to `target` for large temporary files; one that a killed run left is replaced."""
    folder = target.with_name(f".part-{target.name}.scenes")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
