"""`detektr probe`: measures a source, warns of its pitfalls, and writes the lines for the file."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detektr.config.cameras import expand_cameras
from detektr.config.document import Document, read_document
from detektr.config.graph.checks import build_graph
from detektr.config.graph.sizing import ASSUMED_FORMAT, ASSUMED_SIZE
from detektr.config.schema import read_options
from detektr.errors import RefusedError, SourceError
from detektr.memory.layout import ring_bytes
from detektr.memory.run_folder import shm_root
from detektr.options import SECOND_NS, CaptureOptions
from detektr.picture import FORMATS, PictureLayout
from detektr.redaction import mask_with, redact, tail_secrets, url_secrets
from detektr.source_uri import scheme_of, source_kind

if TYPE_CHECKING:
    from detektr.sources.survey import Survey

KEY_FRAME_S_MAX = 4.0  # longer, and every new connection is without a picture for so long
FIRST_FRAME_S_MAX = 3.0
FPS_OFF_SHARE = 0.15
CPU_SHARE_MAX = 0.5  # of one core, for decoding alone
_MIB = 1 << 20
SMALLER = "write `width` and `height` into the file: each picture is scaled to them while it is captured"
_VARIABLE = re.compile(r"\$\{[^{}]*\}")
_FIRST_LETTER = 0xF0000  # of a range that nobody uses in a URL


@dataclass(frozen=True)
class ProbeReport:
    """What a probe found."""

    source: str
    """Without its secrets."""
    survey: Survey
    slot_bytes: int
    slots: int
    """Of the ring, with the file that is proposed."""
    warnings: tuple[str, ...]
    """What will hurt, each with what to do."""
    yaml: str
    """A pipeline file that loads."""

    def as_record(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        facts = {"source": self.source, **asdict(self.survey)}
        ring = {
            "slot_bytes": self.slot_bytes,
            "slots": self.slots,
            "ring_bytes": ring_bytes(self.slots, self.slot_bytes),
        }
        return {**facts, **ring, "bites": list(self.warnings), "yaml": self.yaml}

    def as_json(self) -> str:
        """Return it as JSON."""
        return json.dumps(self.as_record(), indent=2)

    def as_text(self) -> str:
        """Return it as people read it."""
        rows = "\n".join(f"  {name:12} {words}" for name, words in _rows(self))
        warnings = "".join(f"! {warning}\n" for warning in self.warnings)
        return f"{self.source}\n{rows}\n{warnings}\nA file that captures it (`detektr up`):\n\n{self.yaml}"


def probe(source: str, seconds: float, transport: str | None = None) -> ProbeReport:
    """Open a source, read it for a while and say what was found.

    Args:
        source: a URL, file, device or lavfi graph; `${NAME}` in it comes from the environment.
        seconds: how long to read.
        transport: as the key of a capture; its default unless told otherwise.
    Raises:
        RefusedError: what was asked for makes no sense.
        SourceError: it cannot be opened or read; says what, why and what to do, without secrets.
    """
    given = read_document(f"source: {json.dumps(source)}", os.environ)
    if given.faults:
        raise RefusedError("\n".join(f"probe: {fault.text}" for fault in given.faults))
    text = str((given.values or {})["source"])
    secrets = dict.fromkeys((*url_secrets(text), *given.secrets), "***")
    more = {} if transport is None else {"transport": transport}
    options = _options(Document({"name": "probe", "nodes": {"source": {"kind": "capture", "source": text, **more}}}))
    if source_kind(text) == "python":
        shown = mask_with(text, secrets)
        raise RefusedError(f"probe: {shown} is code of your own, which FFmpeg cannot read; run a capture instead")
    survey = _survey(options, seconds)
    try:
        picture = PictureLayout(survey.ring_format, survey.width, survey.height)
    except ValueError as error:
        raise SourceError(f"source {mask_with(text, secrets)}: {error}; {SMALLER}") from None
    slot_bytes = picture.nbytes
    if slot_bytes > PictureLayout(ASSUMED_FORMAT, *ASSUMED_SIZE).nbytes:  # else its ring is planned too small
        more |= {"width": str(picture.width), "height": str(picture.height), "format": picture.format}
    typed, environment = without_secrets(source if given.variables else text, has_variables=bool(given.variables))
    yaml = _proposal(typed, environment, more, is_live=survey.is_live)
    document = expand_cameras(read_document(yaml, {**os.environ, **environment})).document
    graph, _ = build_graph(read_options(document).options.nodes)
    assert graph is not None, "the file that probe proposes loads"
    slots = graph.nodes["camera"].slots or 0
    warnings = tuple(warnings_of(survey, seconds, ring_bytes(slots, slot_bytes)))
    return ProbeReport(mask_with(text, secrets), survey, slot_bytes, slots, warnings, yaml)


def _options(document: Document) -> CaptureOptions:
    reading = read_options(document)
    if reading.faults:
        raise RefusedError("\n".join(f"probe: {mask_with(fault.text, {})}" for fault in reading.faults))
    options = reading.options.nodes["source"]
    assert isinstance(options, CaptureOptions)
    return options


def _survey(options: CaptureOptions, seconds: float) -> Survey:
    """Survey in a thread, since FFmpeg may wait for as long as it likes and Ctrl-C shall not."""
    found: list[Survey | Exception] = []
    is_open, is_done = threading.Event(), threading.Event()

    def work() -> None:
        from detektr.sources.survey import survey_source

        try:
            found.append(survey_source(options, Path.cwd(), seconds, is_open.set))
        except Exception as fault:  # handed to the thread that asked
            found.append(fault)
        is_done.set()
        is_open.set()

    threading.Thread(target=work, name="probe", daemon=True).start()
    name, hint = redact(options.source), "see whether it is on and reachable, and plays elsewhere"
    tries = 2 if options.transport == "auto" else 1
    if not is_open.wait(tries * options.open_timeout_ns / SECOND_NS):
        raise SourceError(
            f"source {name}: no answer within {options.open_timeout}, or none that FFmpeg understands; {hint}"
        )
    if not is_done.wait(seconds + options.stall_timeout_ns / SECOND_NS):
        raise SourceError(f"source {name}: it was opened, and nothing came for {options.stall_timeout}; {hint}")
    if isinstance(found[0], Exception):
        raise found[0]
    return found[0]


def _rows(finding: ProbeReport) -> Iterable[tuple[str, str]]:
    survey = finding.survey
    more = [*(["interlaced"] if survey.is_interlaced else [])]
    more += [f"stored turned by {survey.rotation_degrees} degrees"] if survey.rotation_degrees else []
    more += ["stored mirrored"] if survey.is_mirrored else []
    more += [f"also {', '.join(survey.other_streams)} (not captured)"] if survey.other_streams else []
    profile = f" ({survey.profile})" if survey.profile else ""
    yield "codec", ", ".join([f"{survey.codec}{profile}, {survey.width}x{survey.height} {survey.format}", *more])
    rates = [f"{survey.fps_measured:.1f} pictures/s over {survey.content_s:.1f} s"] if survey.fps_measured else []
    rates += [f"{survey.fps_declared:g} declared"] if survey.fps_declared else []
    rates += [f"{survey.bits_per_s / 1000:.0f} kbit/s"] if survey.bits_per_s else []
    yield "rate", ", ".join(rates) or "unknown: its pictures have no times"
    every = f"at most {survey.key_frame_s:.1f} s apart" if survey.key_frame_s else "fewer than two came"
    yield "key frames", every + (", B-frames between them" if survey.has_b_frames else "")
    left_out = f"; {survey.before_key} pictures before its first key frame left out" if survey.before_key else ""
    yield "first frame", f"{survey.first_frame_s:.2f} s after opening began ({survey.open_s:.2f} s to open){left_out}"
    if survey.transport:
        yield "transport", survey.transport
    if survey.has_camera_clock is not None:
        whose = "the camera's (it sends RTCP reports)" if survey.has_camera_clock else "this machine's, as frames come"
        yield "clock", whose
    yield "cost", f"{survey.cpu_ms:.1f} ms of CPU a picture, reading and decoding"
    mib = ring_bytes(finding.slots, finding.slot_bytes) / _MIB
    yield "memory", f"{finding.slot_bytes / _MIB:.2f} MiB a slot, {mib:.0f} MiB the ring of {finding.slots} slots below"
    if survey.corrupt:
        yield "damaged", f"{survey.corrupt} packets or pictures, beside {survey.pictures} whole ones"


def warnings_of(survey: Survey, seconds: float, nbytes: int) -> Iterable[str]:
    """Yield what will hurt, each with what to do about it.

    Args:
        survey: what was found.
        seconds: how long was looked.
        nbytes: size of the ring that its pictures need.
    """
    fps = survey.fps_measured or survey.fps_declared or 0.0
    if survey.key_frame_s is not None and survey.key_frame_s > KEY_FRAME_S_MAX:
        yield (
            f"key frames up to {survey.key_frame_s:.1f} s apart: after each new connection there is no picture for so"
            " long, and `decode: keyframes` shows no more; set the camera's key frame (I-frame, GOP) interval to 1 s"
        )
    elif survey.is_live and survey.key_frame_s is None:
        yield f"no two key frames within {seconds:g} s: look for longer (--for 30s), or let the camera send more"
    if survey.is_live and survey.has_b_frames:
        yield "B-frames: each picture waits for later ones; switch them off in the camera (H.264 profile Baseline)"
    if survey.is_live and survey.first_frame_s > FIRST_FRAME_S_MAX:
        yield f"the first picture took {survey.first_frame_s:.1f} s: so long is each gap after a lost connection"
    if survey.fps_declared and survey.fps_measured and abs(fps / survey.fps_declared - 1) > FPS_OFF_SHARE:
        yield f"it declares {survey.fps_declared:g} pictures/s and sends {fps:.1f}: do not build on what it declares"
    if survey.width % 2 or survey.height % 2:
        yield (
            f"odd size {survey.width}x{survey.height}: colour planes are rounded up, which not all code expects;"
            " `frame.bgr` is right, or give `width` and `height`"
        )
    if survey.format != survey.ring_format:
        loss = f"and loses {survey.lost}" if survey.lost else "without loss"
        yield f"a ring cannot hold {survey.format}: each picture is converted to {survey.ring_format}, {loss}"
    if FORMATS[survey.ring_format].sample_bytes > 1:
        yield f"{survey.ring_format} takes two bytes a sample; `format: yuv420p` halves the memory for some CPU"
    if survey.is_interlaced:
        yield "interlaced: both fields are in one picture, and moving edges are combed; set the camera to progressive"
    if survey.is_live and survey.cpu_ms * fps > 1000 * CPU_SHARE_MAX:
        share = survey.cpu_ms * fps / 10
        yield (
            f"reading and decoding it takes {share:.0f} % of one core: use the camera's smaller stream, `fps`,"
            " `decode: keyframes` or `hwaccel: auto`"
        )
    if survey.corrupt:
        hint = "`transport: tcp` loses no packets" if survey.transport == "udp" else "see to the network and the camera"
        yield f"{survey.corrupt} packets or pictures were damaged: they are left out and counted; {hint}"
    room = os.statvfs(shm_root().parent)
    free = room.f_bavail * room.f_frsize
    if nbytes > free:
        yield (
            f"the ring needs {nbytes / _MIB:.0f} MiB of shared memory and {free / _MIB:.0f} are free: lower"
            " `high_water_mark`, give `width` and `height`, or add memory (docker run --shm-size=1g)"
        )


def _proposal(source: str, environment: Iterable[str], more: dict[str, str], *, is_live: bool) -> str:
    """Return a pipeline file that captures the source, in which variables stand for its secrets."""
    keys = {**more, **({} if is_live else {"realtime": "true"})}
    camera = json.dumps(source)
    if keys:
        camera = f"{{source: {camera}, {', '.join(f'{key}: {value}' for key, value in keys.items())}}}"
    head = "".join(f"# export {name}=...\n" for name in environment)
    return (
        f"{head}name: demo\ncameras:\n  camera: {camera}\nnodes:\n"
        "  buffer: {kind: buffer, input: cameras}\n"
        "  motion: {kind: processor, input: buffer, use: motion}\n"
        "  events: {kind: sink, input: motion, use: jsonl, with: {path: events.jsonl}}\n"
    )


def without_secrets(url: str, *, has_variables: bool = False) -> tuple[str, dict[str, str]]:
    """Return a URL with a variable in the place of each secret, and what these variables are.

    Args:
        url: as it was typed.
        has_variables: True: `${NAME}` in it is one, and stays; False: it is text, and is written `$${NAME}`.
    """
    variables = _VARIABLE.findall(url) if has_variables else []
    for number, variable in enumerate(variables):  # one letter each: what stands in it is no part of the URL
        url = url.replace(variable, chr(_FIRST_LETTER + number))
    written, environment = _without_secrets(url if has_variables else url.replace("${", "$${"))
    for number, variable in enumerate(variables):
        written = written.replace(chr(_FIRST_LETTER + number), variable)
        environment = {name: text.replace(chr(_FIRST_LETTER + number), variable) for name, text in environment.items()}
    return written, environment


def _without_secrets(url: str) -> tuple[str, dict[str, str]]:
    environment: dict[str, str] = {}

    def hide(name: str, secret: str) -> str:
        """Return what is written for a secret, which may be a variable already."""
        if len(secret) == 1 and ord(secret) >= _FIRST_LETTER:
            return secret
        environment[name] = secret.replace("$${", "${")
        return f"${{{name}}}"

    scheme = scheme_of(url)
    if scheme is None:
        return url, environment
    head, rest = url[: len(scheme) + 3], url[len(scheme) + 3 :]
    login = ""
    if redact(url).startswith(f"{head}***@"):
        user_info, _, rest = rest.rpartition("@")
        user, colon, password = user_info.partition(":")
        secret = password if colon else user
        name = "CAMERA_PASSWORD" if colon else "CAMERA_USER"
        login = f"{user}:{hide(name, secret)}@" if colon else f"{hide(name, secret)}@"
    written, place = "", 0
    for found in tail_secrets(rest):
        stem = name = f"CAMERA_{re.sub(r'[^A-Za-z0-9]', '_', found.name).upper()}"
        number = 1
        while name in environment:
            number += 1
            name = f"{stem}_{number}"
        written += rest[place : found.begin] + hide(name, rest[found.begin : found.end])
        place = found.end
    return head + login + written + rest[place:], environment
