"""Commands run on a terminal of their own."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import termios


def on_terminal(command: list[str], columns: int = 80, rows: int = 24) -> tuple[str, int]:
    """What ``command`` writes on a terminal of this size, and its exit code."""
    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    process = subprocess.Popen(command, stdin=child, stdout=child, stderr=child, close_fds=True)
    os.close(child)
    written = b""
    while True:
        try:
            part = os.read(parent, 65536)
        except OSError:
            # Linux says so when the last writer is gone.
            break
        if not part:
            break
        written += part
    os.close(parent)
    return written.decode(), process.wait()
