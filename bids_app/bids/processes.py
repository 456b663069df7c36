"""Processes that share a folder: on which host they are, and whether they still run."""

import hashlib
import os
import platform
from pathlib import Path


def host_id() -> str:
    """A code of this host and its PID namespace: jobs in containers share the former, not the latter.

    Names of hosts are not written into folders that users share.
    """
    namespace = Path("/proc/self/ns/pid")
    inode = namespace.stat().st_ino if namespace.exists() else 0
    return hashlib.sha256(f"{platform.node()} {inode}".encode()).hexdigest()[:12]


def is_alive(pid: int) -> bool:
    """Return whether a process of this host runs, whoever owns it."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # it is alive, as another user
    return True


def start_ticks(pid: int) -> int | None:
    """When a process of this host started, in ticks since boot; None where it is not known. PIDs are used again."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return None
