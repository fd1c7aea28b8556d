"""What an H.264 stream says about itself, for tests."""

import re

from common.media.ffmpeg import clip_input
from common.media.ffmpeg_process import run


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
