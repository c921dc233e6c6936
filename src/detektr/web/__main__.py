"""The web server of a run, as its supervisor starts it: the socket is handed down, the settings come over a pipe."""

from __future__ import annotations

import fcntl
import logging
import logging.handlers
import os
import socket
import sys

from setproctitle import setproctitle

from detektr.errors import DetektrError
from detektr.memory.run_folder import state_root
from detektr.observe.logbook import FILE_BYTES_MAX, log_folder
from detektr.redaction import mask, register_secret
from detektr.web.server import WebSettings, serve

LINE_FD = 0  # the supervisor's; the first line has the settings
SETTINGS_BYTES_MAX = 1 << 16
LOCK = "web.lock"
LOG = "web-server.0.log"


def main() -> int:
    """Serve until the end."""
    listener = socket.socket(fileno=int(sys.argv[1]))
    settings = WebSettings.from_json(_first_line())
    name = settings.names[0]
    os.environ["SPT_NOENV"] = "1"  # the title leaves the environment readable, by which others know whose we are
    setproctitle(f"detektr: web of {name}")
    if settings.token:
        register_secret(settings.token)
    log = log_folder(name)
    log.mkdir(mode=0o700, parents=True, exist_ok=True)
    handler = logging.handlers.RotatingFileHandler(log / LOG, maxBytes=FILE_BYTES_MAX, backupCount=1, delay=True)
    handler.setFormatter(
        logging.Formatter("%(asctime)s.%(msecs)03d %(levelname)s web: %(message)s", "%Y-%m-%d %H:%M:%S")
    )
    logging.getLogger().addHandler(handler)
    # Held as long as we live: the next run's supervisor finds us by it, should ours have died.
    lock = os.open(state_root() / name / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    os.truncate(lock, 0)
    os.pwrite(lock, str(os.getpid()).encode(), 0)
    try:
        serve(settings, listener, LINE_FD, lambda: None)
    except DetektrError as fault:
        logging.getLogger("detektr.web").error("%s", mask(str(fault)))
        return fault.exit_code
    return 0


def _first_line() -> str:
    text = b""
    while not text.endswith(b"\n") and len(text) < SETTINGS_BYTES_MAX:
        part = os.read(LINE_FD, 1)
        if not part:
            break
        text += part
    return text.decode()


if __name__ == "__main__":
    sys.exit(main())
