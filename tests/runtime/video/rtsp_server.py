"""A server of GStreamer, for the system's Python: ``rtsp_server.py PORT [FILE]``.

It plays a moving ball in H.264 at /live; what is published at /in goes to FILE.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

PLAYED = (
    "( videotestsrc is-live=true pattern=ball"
    " ! video/x-raw,width=64,height=48,framerate=25/1"
    " ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=5"
    " ! rtph264pay name=pay0 pt=96 config-interval=-1 )"
)
RECORDED = (
    "( rtph264depay name=depay0 ! h264parse ! matroskamux streamable=true"
    " ! filesink location={} )"
)

Gst.init(None)
server = GstRtspServer.RTSPServer.new()
server.set_address("127.0.0.1")
server.set_service(sys.argv[1])
player = GstRtspServer.RTSPMediaFactory.new()
player.set_launch(PLAYED)
server.get_mount_points().add_factory("/live", player)
if sys.argv[2:]:
    recorder = GstRtspServer.RTSPMediaFactory.new()
    recorder.set_transport_mode(GstRtspServer.RTSPTransportMode.RECORD)
    recorder.set_launch(RECORDED.format(sys.argv[2]))
    server.get_mount_points().add_factory("/in", recorder)
if not server.attach(None):
    sys.exit("the port is taken")
sys.stdout.write("ready\n")
sys.stdout.flush()
GLib.MainLoop().run()
