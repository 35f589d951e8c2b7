"""Decoders of H.264, tried and measured: what hardware is worth on this machine.

Nothing is assumed from a name: FFmpeg lists decoders for hardware that is not there,
and one whose pictures must be copied back can be slower than a processor.
"""

from __future__ import annotations

import shlex
import time
from pathlib import Path

from derain.core.scratch import ScratchFolder
from derain.runtime.doctor.machine import CheckContext, Finding, last_line, listed

FRAMES = 120
_SIZE = "1280x720"
_MAKE = """
import av, numpy, sys
with av.open(sys.argv[1], "w", format="h264") as file:
    video = file.add_stream("libx264", rate=30, options={{"preset": "ultrafast"}})
    video.width, video.height, video.pix_fmt = {width}, {height}, "yuv420p"
    ramp = numpy.arange({width})
    for index in range({frames}):
        picture = numpy.empty(({height} * 3 // 2, {width}), numpy.uint8)
        picture[:] = (ramp + 3 * index).astype(numpy.uint8)
        frame = av.VideoFrame.from_ndarray(picture, format="yuv420p")
        file.mux(video.encode(frame))
    file.mux(video.encode(None))
"""
_DECODE = """
import av, sys, time
from av.codec.hwaccel import HWAccel
path, decoder, device = sys.argv[1:]
hardware = HWAccel(device, allow_software_fallback=False) if device else None
packets = []
with av.open(path, hwaccel=hardware) as file:
    stream = file.streams.video[0]
    context = stream.codec_context
    if decoder:
        context = av.CodecContext.create(decoder, "r")
        context.extradata = stream.codec_context.extradata
    packets = list(file.demux(stream))
    count, started = 0, time.perf_counter()
    for packet in packets:
        for frame in context.decode(packet if packet.size else None):
            frame.to_ndarray() if not device else frame.reformat(format="nv12")
            count += 1
    print(count, time.perf_counter() - started)
"""
# Name, decoder of FFmpeg, device of FFmpeg.
_FFMPEG = (
    ("processor", "", ""),
    ("cuda", "", "cuda"),
    ("vaapi", "", "vaapi"),
    ("v4l2m2m", "h264_v4l2m2m", ""),
)
_GSTREAMER = ("nvv4l2decoder", "vah264dec", "v4l2h264dec")


def measure_decoders(context: CheckContext) -> Finding:
    """Frames per second of each decoder that works, 1280x720, in memory afterwards."""
    width, height = _SIZE.split("x")
    with ScratchFolder() as folder:
        clip = Path(folder) / "clip.h264"
        code = _MAKE.format(width=width, height=height, frames=FRAMES)
        made = context.python(code, str(clip))
        if made.status:
            fix = "pip install 'derain[video]'"
            return Finding("absent", f"not measured: {last_line(made)}", fix)
        rates = {}
        for name, decoder, device in _FFMPEG:
            answer = context.python(_DECODE, str(clip), decoder, device)
            if answer.status == 0:
                count, seconds = answer.output.split()[-2:]
                if int(count) >= FRAMES - 1:
                    rates[name] = int(count) / float(seconds)
        for element in _GSTREAMER:
            seconds_taken = _gstreamer_seconds(context, element, clip)
            if seconds_taken is not None:
                rates[f"GStreamer's {element}"] = FRAMES / seconds_taken
    texts = [f"{name} {rate:.0f} frames/s" for name, rate in rates.items()]
    return Finding("ok" if rates else "warn", f"H.264 {_SIZE}: {listed(texts)}")


def _gstreamer_seconds(context: CheckContext, element: str, clip: Path) -> float | None:
    """Seconds for the clip, the start of the pipeline included; None: it fails."""
    exists = context.machine.run("gst-inspect-1.0", "--exists", element)
    if exists is None or exists.status:
        return None
    pipeline = f"filesrc location={clip} ! h264parse ! {element} ! fakesink"
    started = time.perf_counter()
    answer = context.machine.run("gst-launch-1.0", "-q", *shlex.split(pipeline))
    seconds = time.perf_counter() - started
    return seconds if answer is not None and answer.status == 0 else None
