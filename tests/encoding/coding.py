"""Images and clips coded at given QPs, for tests."""

from common.encoding import encode, scenes
from common.encoding.job import scene_qps
from common.encoding.targets import target_of
from common.media.formats import is_clip

READ_FRAMES = scenes.read_frames  # where a test puts another in its place


def coded(path, qp, codec, folder, baseline=None):
    """Code an image at a QP, or a clip at {frame: QP}, into `folder`: the row of the report."""
    target = target_of(path, codec, folder)
    if is_clip(path):
        return code_clip(path, qp, target, codec, baseline)
    return encode.encode_image(path, qp, target, codec, baseline)


def code_clip(path, qps, target, codec="h264", baseline=None, **settings):
    """Code a clip at {frame: QP}: the row of the report."""
    clip = scenes.analyse_clip(path)
    return encode.encode_clip(clip, scene_qps(clip.scenes, qps), target, codec, baseline, **settings)
