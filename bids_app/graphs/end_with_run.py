"""Imported first by the process from which workers are forked: it ends with the run, and workers with it."""

import os

from bids_app.graphs import parent_death

parent_death.end_with_parent_process()
parent_death.end_forks_with_this_process()
if os.environ.get(parent_death.RUN_PID, "") != str(os.getppid()):  # it ended before this process had begun
    os._exit(0)
