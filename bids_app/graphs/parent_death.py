"""Processes that end with the one that started them, however it ended: by SIGKILL nothing of it can clean up.

On Linux the kernel ends them. Elsewhere, and in the moments before it has been asked to, a thread of each worker waits
for the end of the run's process, of which the server of workers learns only when no worker is left.
"""

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from multiprocessing.connection import wait

PR_SET_PDEATHSIG = 1
RUN_PID = "PELLUCID_RUN_PID"  # in the environment: which process started the server of workers


def end_with_parent_process() -> None:
    """Have the kernel kill this process when the thread that started it ends. Only on Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def end_forks_with_this_process() -> None:
    """The same for the processes that this one forks, from their first instruction; not for those that they fork."""
    own, forking = os.getpid(), [0]

    def note() -> None:
        forking[0] = os.getpid()

    def end_with_it() -> None:
        if forking[0] == own:
            end_with_parent_process()
            if os.getppid() != own:  # it ended before
                os._exit(1)

    os.register_at_fork(before=note, after_in_child=end_with_it)


def watch_parent() -> None:
    """End this worker when the process of the run has ended, which closes a pipe, even if the server still runs."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_after, args=(parent.sentinel,), daemon=True).start()


def _end_after(sentinel: int) -> None:
    wait([sentinel])
    os.kill(os.getpid(), signal.SIGKILL)
