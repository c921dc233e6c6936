"""A camera by GStreamer: password, TLS, sound, a picture that freezes, another size; obeys lines on standard input.

Run by Debian's own Python, which has GStreamer's bindings: `/usr/bin/python3 gst_server.py '{"port": 8554}'`.
Orders: `freeze` (sound goes on), `thaw`, `size 320x240`. It says `ready` on standard output when it listens.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gio, GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402 -- their versions first

MEDIA: list[Any] = []  # what the factory has made: one pipeline, shared by all viewers


def main(told: dict[str, Any]) -> None:
    Gst.init(None)
    server = GstRtspServer.RTSPServer(address="127.0.0.1", service=str(told["port"]))
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_shared(True)
    factory.set_launch(launch(told))
    if told.get("transport"):
        factory.set_protocols(getattr(GstRtsp.RTSPLowerTrans, told["transport"].upper()))
    factory.connect("media-configure", lambda _, media: MEDIA.append(media.get_element()))
    if told.get("password") or told.get("certificate"):
        guard(server, factory, told)
    if told.get("is_forbidden"):
        refuse = GstRtsp.RTSPStatusCode.FORBIDDEN
        server.connect("client-connected", lambda _, client: client.connect("pre-describe-request", lambda *_: refuse))
    server.get_mount_points().add_factory("/live", factory)
    if server.attach(None) == 0:
        sys.exit(f"port {told['port']} cannot be bound")
    GLib.io_add_watch(sys.stdin.fileno(), GLib.PRIORITY_DEFAULT, GLib.IO_IN | GLib.IO_HUP, obey)
    print("ready", flush=True)
    GLib.MainLoop().run()


def launch(told: dict[str, Any]) -> str:
    size = "width={width},height={height}".format(**told)
    video = (
        f"videotestsrc is-live=true ! videoscale ! capsfilter name=size caps=video/x-raw,format=I420,{size}"
        f",framerate={told['fps']}/1 ! x264enc tune=zerolatency sliced-threads=false"
        f" speed-preset=ultrafast key-int-max={told['gop']}"
        " ! h264parse ! valve name=valve ! rtph264pay name=pay0 pt=96 config-interval=-1"
    )
    audio = " audiotestsrc is-live=true ! alawenc ! rtppcmapay name=pay1 pt=8" if told.get("audio") else ""
    return f"( {video}{audio} )"


def guard(server: Any, factory: Any, told: dict[str, Any]) -> None:
    """Ask for a password, or encrypt, or both."""
    auth = GstRtspServer.RTSPAuth()
    allowed = GstRtspServer.RTSPPermissions()
    if told.get("password"):
        token = GstRtspServer.RTSPToken()
        token.set_string("media.factory.role", "viewer")
        methods = GstRtsp.RTSPAuthMethod
        if told.get("is_digest"):
            auth.set_supported_methods(methods.DIGEST)
            auth.add_digest(told["user"], told["password"], token)
        else:
            auth.set_supported_methods(methods.BASIC)
            auth.add_basic(auth.make_basic(told["user"], told["password"]), token)
        role = "viewer"
    else:
        token = GstRtspServer.RTSPToken()
        token.set_string("media.factory.role", "anybody")
        auth.set_default_token(token)
        role = "anybody"
    allowed.add_role(role)
    allowed.add_permission_for_role(role, "media.factory.access", True)
    allowed.add_permission_for_role(role, "media.factory.construct", True)
    factory.set_permissions(allowed)
    if told.get("certificate"):
        auth.set_tls_certificate(Gio.TlsCertificate.new_from_file(told["certificate"]))
    server.set_auth(auth)


def obey(source: int, condition: Any) -> bool:
    line = sys.stdin.readline()
    if not line:
        sys.exit()
    order, _, value = line.strip().partition(" ")
    for element in MEDIA:
        if order in ("freeze", "thaw"):
            element.get_by_name("valve").set_property("drop", order == "freeze")
        elif order == "size":
            caps = element.get_by_name("size").get_property("caps").copy()
            width, height = (int(side) for side in value.split("x"))
            structure = caps.get_structure(0)
            structure.set_value("width", width)
            structure.set_value("height", height)
            fresh = Gst.Caps.from_string(structure.to_string())
            element.get_by_name("size").set_property("caps", fresh)
    print("done", flush=True)
    return True


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
