"""H.264 streams for tests: made as VideoSet's, and what they say about themselves."""

import os
import re

import ffmpeg as graphs
import numpy as np

from common.core.files import atomic_write
from common.media import ffmpeg
from common.media.ffmpeg import clip_input
from common.media.ffmpeg_process import run


def encode_h264(source, target, qp, rate=30):
    """A clip, or frames (N, H, W, 3) or (H, W, 3) of even size, in H.264 at a constant QP with VideoSet's settings."""
    if isinstance(source, np.ndarray):
        size = f"{source.shape[-2]}x{source.shape[-3]}"
        stream = graphs.input("pipe:", format="rawvideo", pixel_format="rgb24", framerate=rate, s=size)
        stream, data = ffmpeg._yuv(stream), source.tobytes()
    else:
        stream, data = (
            ffmpeg.clip_as_yuv420(clip_input(source), (form := ffmpeg.clip_format(source)).size, form.scale),
            None,
        )
    with atomic_write(os.path.abspath(target)) as temporary:
        graph = ffmpeg.x264_output(stream, temporary, qp, ffmpeg.CLIP_THREADS, fps_mode="passthrough")
        run(graph, f"encoding {target}", data, ffmpeg.CLIP_TIMEOUT, temporary)


def frame_qps(path):
    """[("I", 28), ("P", 28), ...]: type and QP of each frame of an H.264 clip, in coding order.

    Read from the slice headers (26 + pic_init_qp_minus26 + slice_qp_delta), the base of all blocks of the slice.
    `-export_side_data venc_params` would not do: its `qp` is the picture parameter set's only, 28 for an I frame of 25.
    """
    graph = clip_input(path).output("-", format="null", vcodec="copy", **{"bsf:v": "trace_headers"})
    log = run(graph, f"reading the QPs of {path}")[1]
    fields = ("first_mb_in_slice", "slice_type", "pic_parameter_set_id", "pic_init_qp_minus26", "slice_qp_delta")
    frames, initial, now = [], {}, {}
    for name, value in re.findall(rf"\b({'|'.join(fields)}) +[01]+ = (-?\d+)", log):
        now[name] = int(value)
        if name == "pic_init_qp_minus26":
            initial[now["pic_parameter_set_id"]] = 26 + now[name]
        elif name == "slice_qp_delta" and now["first_mb_in_slice"] == 0:  # other slices belong to the same frame
            frames.append(("PBI"[now["slice_type"] % 5], initial[now["pic_parameter_set_id"]] + now[name]))
    return frames


def hevc_frame_qps(path):
    """The QP of each frame of an HEVC clip, in the order shown, from the slice headers."""
    graph = clip_input(path).output("-", format="null", vcodec="copy", **{"bsf:v": "trace_headers"})
    log = run(graph, f"reading the QPs of {path}")[1]
    fields = ("nal_unit_type", "init_qp_minus26", "slice_pic_order_cnt_lsb", "slice_qp_delta")
    frames, initial, start, order = [], 0, 0, 0
    for name, value in re.findall(rf"\b({'|'.join(fields)}) +[01]+ = (-?\d+)", log):
        match name:
            case "nal_unit_type" if int(value) in (19, 20):  # IDR, whose order is 0 and not written
                start, order = len(frames), 0
            case "slice_pic_order_cnt_lsb":
                order = int(value)
            case "init_qp_minus26":
                initial = 26 + int(value)
            case "slice_qp_delta":
                frames.append(((start, order), initial + int(value)))
    return [qp for _, qp in sorted(frames)]
