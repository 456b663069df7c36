"""Imported first by the process from which workers are forked: it ends with the run, and workers with it.

In any other process it does nothing.
"""

import os

from bids_app.graphs import parent_death

if os.environ.get(parent_death.RUN_PID, str(os.getpid())) != str(os.getpid()):
    parent_death.end_with_parent_process()
    parent_death.end_forks_with_this_process()
    if os.environ[parent_death.RUN_PID] != str(os.getppid()):  # it ended before this process had begun
        os._exit(0)
