"""Events as frozen records in the past tense; other layers count, log and store them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class RunEvent:
    """Base of all records; `node` says where it happened (`motion.0`: node and replica)."""

    node: str

    def as_record(self) -> dict[str, Any]:
        """Return the record as plain values, with its kind."""
        return {"event": type(self).__name__, **asdict(self)}


@dataclass(frozen=True)
class FrameRedelivered(RunEvent):
    """A frame went back to its queue; `delivery` counts the attempts at it that have failed."""

    consumer: str
    frame: str
    sequence: int
    delivery: int
    reason: str


@dataclass(frozen=True)
class FrameDeadLettered(RunEvent):
    """An edge gave a frame up as a dead letter; `saved` says where its picture and the reason are."""

    consumer: str
    frame: str
    sequence: int
    reason: str
    saved: str


@dataclass(frozen=True)
class ResultRefused(RunEvent):
    """A consumer finished a frame after its lease had ended; detektr threw the result away."""

    consumer: str
    frame: str
    sequence: int


@dataclass(frozen=True)
class ConsumerAttached(RunEvent):
    """A replica of a consumer attached to an edge."""

    consumer: str
    replica: str


@dataclass(frozen=True)
class ConsumerLeft(RunEvent):
    """A replica left an edge: it detached, or the kernel said that it is dead."""

    consumer: str
    replica: str
    reason: str


@dataclass(frozen=True)
class EdgeStalled(RunEvent):
    """Frames wait on an edge, and no consumer is attached."""

    consumer: str
    queued: int


@dataclass(frozen=True)
class EdgeResumed(RunEvent):
    """A stalled edge has a consumer again."""

    consumer: str


@dataclass(frozen=True)
class NodeStateChanged(RunEvent):
    """A node entered a state; `why` is empty if the state says everything."""

    state: str
    why: str = ""


@dataclass(frozen=True)
class NodeExited(RunEvent):
    """A process of a node ended; `how` says how, in words, and `log` has its last lines."""

    how: str
    will_restart: bool
    log: tuple[str, ...] = ()


@dataclass(frozen=True)
class OperatorActed(RunEvent):
    """An operator did something to a node: `did` is pause, resume, restart, scale or clear, and `to` its processes or
    edges."""

    did: str
    to: tuple[str, ...] = ()


@dataclass(frozen=True)
class NodeScaled(RunEvent):
    """A node is to have another number of processes from now on, `replicas` in place of `before`: an operator asked for
    it, or one that it asked for cannot begin (`why`)."""

    replicas: int
    before: int
    why: str = ""


@dataclass(frozen=True)
class CameraMoved(RunEvent):
    """From now on this replica gets a camera's frames: another replica died or left, or this one came back or is new.
    It knows nothing yet of the camera's earlier frames."""

    camera: str


@dataclass(frozen=True)
class MessageRefused(RunEvent):
    """A process refused a message from another one: it was not valid, or asked for what it must not have."""

    why: str
