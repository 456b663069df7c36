"""One nipype interface for every step: a plain function of a module, keyword arguments in, one value out."""

import importlib
import os
import resource
import sys
from collections.abc import Callable
from typing import Any

from nipype.interfaces.base import DynamicTraitedSpec, Str, isdefined, traits
from nipype.interfaces.io import IOBase, add_traits
from nipype.pipeline.engine import Node

RSS_PER_MB = 1e6 if sys.platform == "darwin" else 1e6 / 1024  # Linux counts kilobytes of 1024 bytes


class FunctionInputSpec(DynamicTraitedSpec):
    """The function; its arguments are added when the interface is created."""

    function = Str(mandatory=True, desc="module:name")


class FunctionOutputSpec(DynamicTraitedSpec):
    """What the function returned."""

    out = traits.Any()


class FunctionCall(IOBase):
    """Calls `module:name` in the node's own folder."""

    input_spec = FunctionInputSpec
    output_spec = FunctionOutputSpec
    _always_run = False

    def __init__(self, arguments: list[str] | None = None, **inputs: Any) -> None:
        super().__init__(**inputs)
        self._arguments = list(arguments or [])
        add_traits(self.inputs, self._arguments)

    def _pre_run_hook(self, runtime: Any) -> Any:
        """Forget the environment and the host, which nipype would store with the result: they may hold secrets."""
        runtime.environ, runtime.hostname, runtime.platform = {}, "", ""
        return runtime

    def _run_interface(self, runtime: Any) -> Any:
        module, name = self.inputs.function.split(":")
        values = {key: getattr(self.inputs, key) for key in self._arguments}
        keywords = {key: value for key, value in values.items() if isdefined(value)}
        self._out = getattr(importlib.import_module(module), name)(**keywords)
        runtime.cpu_s = sum(os.times()[:4])  # of this process and those that it started
        runtime.peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / RSS_PER_MB
        return runtime

    def _list_outputs(self) -> dict[str, Any]:
        return {"out": self._out}


def describe_resources(node: Node) -> str:
    """The CPU time and the peak memory of the process in which a node was computed."""
    runtime = node.result.runtime
    return f"{runtime.cpu_s:.1f} CPU s, at most {runtime.peak_mb:.0f} MB"


def make_node(
    name: str,
    function: Callable[..., Any],
    *,
    mem_gb: float,
    n_procs: int = 1,
    connected: tuple[str, ...] = (),
    **arguments: Any,
) -> Node:
    """A node that calls `function` with `arguments`; the names in `connected` come from other nodes' `out`.

    Workers import the function by its path; raises ValueError unless it is at the top level of its module. A dash in
    the node's name becomes `_`, since nipype does not accept it.
    """
    if "<" in function.__qualname__:
        raise ValueError(f"{function.__qualname__} is not defined at the top level of its module")
    interface = FunctionCall([*arguments, *connected], function=f"{function.__module__}:{function.__qualname__}")
    node = Node(interface, name=name.replace("-", "_"), mem_gb=mem_gb, n_procs=n_procs)
    for key, value in arguments.items():
        setattr(node.inputs, key, value)
    return node
