"""NVIDIA FLARE as the transport: an executor and a filter at each site, a controller at the coordinator.

The only file that imports nvflare. A job names the two classes below and carries no code. What a site needs lies in the
folder that the variable `FOLDER` of its environment names, written there by `pellucid --federated site`.
"""

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nvflare.apis.controller_spec import ClientTask, Task
from nvflare.apis.executor import Executor
from nvflare.apis.filter import Filter
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.impl.controller import Controller
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.apis.signal import Signal
from nvflare.fuel.flare_api.flare_api import new_secure_session

from bids_app.errors import MissingInputError, PellucidError
from bids_app.federated import study
from bids_app.federated.kits import FOLDER
from bids_app.federated.outgoing import RefusedError
from bids_app.federated.protocol import Answer, Answers, OtherSettingsError, Request
from bids_app.federated.site import Site

TASK = "question"
QUESTION, ARRAYS, DECLINED, FAILED = "question", "arrays", "declined", "failed"
FIELDS = ("name", "map_name", "classifier", "fold", "stage", "number", "settings", "site_number")
CHECK_SECONDS = 0.05


def folder() -> Path:
    """The folder of this process's side of the study."""
    return Path(os.environ[FOLDER])


class SitesMissingError(MissingInputError):
    """A site is not connected; `site` is its name."""

    def __init__(self, site: str, seconds: float) -> None:
        super().__init__(
            f"{site} did not connect within {seconds:g} s; start `pellucid ... --federated site` there, and run the "
            "coordinator again"
        )
        self.site = site


class SiteExecutor(Executor):
    """Answers the coordinator's questions at a site."""

    def __init__(self) -> None:
        super().__init__()
        self.site: Site | None = None

    def execute(self, task_name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        """The reply to one question, which the filter at the site still has to pass."""
        del abort_signal
        if task_name != TASK:
            return make_reply(ReturnCode.TASK_UNKNOWN)
        if self.site is None:
            self.site = study.read_site(folder())
        request = Request(**shareable[QUESTION], arrays=shareable[ARRAYS])
        reply = _reply(shareable)
        try:
            declined = self.site.filter.declines(request.name)
            reply[ARRAYS] = {} if declined else self.site.compute(request)
            reply[DECLINED] = declined
        except OtherSettingsError as error:
            reply[FAILED] = str(error)
        except Exception:
            self.log_exception(fl_ctx, "this question could not be answered")  # stays at the site
            reply[FAILED] = "an error at the site, which its log names"
        return reply


class OutgoingAnswers(Filter):
    """The filter that a site installs in its local/privacy.json: whatever a job replies must be on the site's list."""

    def __init__(self) -> None:
        super().__init__()
        self.outgoing = study.read_filter(folder())

    def process(self, shareable: Shareable, fl_ctx: FLContext) -> Shareable:
        """The reply, written down array by array; a refusal in its place where it is not on the list."""
        del fl_ctx
        if shareable.get_return_code(ReturnCode.OK) != ReturnCode.OK or QUESTION not in shareable:
            return make_reply(shareable.get_return_code(ReturnCode.TASK_RESULT_FILTER_ERROR))
        request = Request(**shareable[QUESTION], arrays=shareable.get("slopes", {}))
        reply = _reply(shareable)
        try:
            if shareable.get(FAILED):
                reply[FAILED] = shareable[FAILED]
            elif reason := self.outgoing.declines(request.name):
                reply[DECLINED] = self.outgoing.decline(request, reason).declined
            else:
                answer = self.outgoing.release(request, shareable[ARRAYS])
                reply[ARRAYS] = dict(answer.arrays)
        except RefusedError as error:
            reply[FAILED] = str(error)
        return reply


class Coordinator(Controller):
    """Runs the analysis in the folder of the coordinator, asking the sites of the plan."""

    def __init__(self) -> None:
        super().__init__(task_check_period=CHECK_SECONDS)

    def start_controller(self, fl_ctx: FLContext) -> None:
        """Nothing to prepare."""

    def stop_controller(self, fl_ctx: FLContext) -> None:
        """Nothing to end."""

    def process_result_of_unknown_task(
        self, client: Any, task_name: str, client_task_id: str, result: Shareable, fl_ctx: FLContext
    ) -> None:
        """An answer that came after its time is not used."""

    def control_flow(self, abort_signal: Signal, fl_ctx: FLContext) -> None:
        """Run the analysis; its results, or the reason why there are none, are in the folder afterwards."""
        plan = study.read_plan(folder())
        try:
            study.run_plan(plan, _Transport(self, plan.sites, plan.timeout, fl_ctx, abort_signal), folder())
        except PellucidError as error:
            study.write_failure(folder(), error)
            self.system_panic(str(error), fl_ctx)


class _Transport:
    """Asks each site by a task of its own, since arrays may differ, and all of them in every round."""

    def __init__(
        self, controller: Controller, sites: Sequence[str], timeout: float, fl_ctx: FLContext, abort_signal: Signal
    ) -> None:
        self.controller, self.sites, self.timeout = controller, sorted(sites), timeout
        self.fl_ctx, self.abort_signal = fl_ctx, abort_signal

    def ask_all(self, request: Request) -> Answers:
        """The answers of all sites; one that did not come in time has failed."""
        answers: dict[str, Answer] = {}
        complete = threading.Event()

        def receive(client_task: ClientTask, fl_ctx: FLContext) -> None:
            del fl_ctx
            answers[client_task.client.name] = _read_reply(client_task.result)
            client_task.result = None
            if len(answers) == len(self.sites):
                complete.set()

        tasks = [
            Task(TASK, _to_shareable(request.to_site(name, code)), timeout=0, result_received_cb=receive)
            for code, name in enumerate(self.sites)
        ]
        for name, task in zip(self.sites, tasks, strict=True):
            self.controller.broadcast(task, self.fl_ctx, targets=[name], min_responses=1)
        end = time.monotonic() + self.timeout
        while not complete.wait(CHECK_SECONDS):
            if self.abort_signal.triggered:
                raise study.AbortedError("the job was ended from outside; run the coordinator again to go on")
            if time.monotonic() > end:
                break
        for task in tasks:
            if task.completion_status is None:
                self.controller.cancel_task(task)
        late = Answer({}, failed=f"no answer within {self.timeout:g} s")
        return {name: answers.get(name, late) for name in self.sites}


def _to_shareable(request: Request) -> Shareable:
    shareable = Shareable()
    shareable[QUESTION] = {name: getattr(request, name) for name in FIELDS}
    shareable[ARRAYS] = dict(request.arrays)
    return shareable


def _reply(shareable: Mapping[str, Any]) -> Shareable:
    """A reply that repeats what it answers, without arrays."""
    reply = make_reply(ReturnCode.OK)
    reply |= {QUESTION: shareable[QUESTION], ARRAYS: {}, DECLINED: "", FAILED: ""}
    slopes = {"slopes": shareable[ARRAYS]["slopes"]} if "slopes" in shareable[ARRAYS] else {}
    reply["slopes"] = shareable.get("slopes", slopes)
    return reply


def _read_reply(reply: Shareable | None) -> Answer:
    if reply is None or reply.get_return_code(ReturnCode.OK) != ReturnCode.OK or ARRAYS not in reply:
        code = "nothing" if reply is None else reply.get_return_code(ReturnCode.OK)
        return Answer({}, failed=f"the site replied {code}")
    return Answer(reply[ARRAYS], reply[DECLINED], reply[FAILED])


def submit(kit: Path, job: Path, sites: Sequence[str], *, wait: float, done: Callable[[], bool]) -> str:
    """Submit a job once all `sites` are connected, wait until it has ended or is `done`, and return its status.

    Sites leave as soon as there are no more questions, which the engine takes for an error of the job. kit: the
    admin's startup kit; wait: seconds for the sites to connect. Raises SitesMissingError if some do not.
    """
    user = kit.name
    session = new_secure_session(user, str(kit), timeout=wait)
    try:
        end = time.monotonic() + wait
        while lacking := set(sites) - {client.name for client in session.get_system_info().client_info}:
            if time.monotonic() > end:
                raise SitesMissingError(sorted(lacking)[0], wait)
            time.sleep(1)
        number = session.submit_job(str(job))
        while not (status := str(session.get_job_meta(number).get("status"))).startswith("FINISHED") and not done():
            time.sleep(1)
        return status
    finally:
        session.close()
