"""One nipype interface for every step: a plain function named by its path, keyword arguments in, a dictionary out."""

import importlib
from typing import Any

from nipype.interfaces.base import DynamicTraitedSpec, Str, isdefined, traits
from nipype.interfaces.io import IOBase, add_traits
from nipype.pipeline.engine import Node


class CallInputSpec(DynamicTraitedSpec):
    """Which function; its arguments are added when the interface is made."""

    function = Str(mandatory=True, desc="module:name")


class CallOutputSpec(DynamicTraitedSpec):
    """What the function returned."""

    out = traits.Any()


class Call(IOBase):
    """Calls `module:name` in the node's own folder."""

    input_spec = CallInputSpec
    output_spec = CallOutputSpec
    _always_run = False

    def __init__(self, arguments: list[str] | None = None, **inputs: Any) -> None:
        super().__init__(**inputs)
        self._arguments = list(arguments or [])
        add_traits(self.inputs, self._arguments)

    def _run_interface(self, runtime: Any) -> Any:
        module, name = self.inputs.function.split(":")
        values = {key: getattr(self.inputs, key) for key in self._arguments}
        given = {key: value for key, value in values.items() if isdefined(value)}
        self._out = getattr(importlib.import_module(module), name)(**given)
        return runtime

    def _list_outputs(self) -> dict[str, Any]:
        return {"out": self._out}


def node(
    name: str, function: str, *, mem_gb: float, n_procs: int = 1, connected: tuple[str, ...] = (), **arguments: Any
) -> Node:
    """A node that calls `function` with `arguments`; the names in `connected` come from other nodes' `out`.

    A dash in its name becomes `_`, since nipype takes none.
    """
    made = Node(
        Call([*arguments, *connected], function=function), name=name.replace("-", "_"), mem_gb=mem_gb, n_procs=n_procs
    )
    for key, value in arguments.items():
        setattr(made.inputs, key, value)
    return made
