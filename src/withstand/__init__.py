"""Learn representations without labels, and know - and raise - how much they withstand.

>>> import withstand as ws                         # imports no torch until something is used
>>> run = ws.train("dcl", data="fashion-mnist")    # doctest: +SKIP
>>> run.probe(), run.audit(eps="8/255"), run.report()   # doctest: +SKIP
"""

from importlib import import_module
from typing import TYPE_CHECKING

from withstand.core.version import __version__ as __version__

if TYPE_CHECKING:
    from withstand.api.adversaries.steering import steer as steer
    from withstand.api.adversaries.tracing import trace as trace
    from withstand.api.front import open_run as open_run
    from withstand.api.front import train as train
    from withstand.api.inspecting import inspect as inspect
    from withstand.api.matching import match as match
    from withstand.api.networks import attack as attack
    from withstand.api.networks import audit as audit
    from withstand.api.networks import certify as certify
    from withstand.api.runs import Run as Run
    from withstand.api.settings import Audit as Audit
    from withstand.api.settings import Certification as Certification
    from withstand.api.settings import Inputs as Inputs
    from withstand.api.settings import Inspection as Inspection
    from withstand.api.settings import Matching as Matching
    from withstand.api.settings import NamedAttack as NamedAttack
    from withstand.api.settings import Steering as Steering
    from withstand.api.settings import Tracing as Tracing
    from withstand.core.part import build as build
    from withstand.core.part import describe as describe
    from withstand.core.threat import Ball as Ball
    from withstand.core.victims.victim import Victim as Victim

_WHERE = {
    "Audit": "withstand.api.settings",
    "Certification": "withstand.api.settings",
    "Inputs": "withstand.api.settings",
    "Inspection": "withstand.api.settings",
    "Matching": "withstand.api.settings",
    "NamedAttack": "withstand.api.settings",
    "Steering": "withstand.api.settings",
    "Tracing": "withstand.api.settings",
    "Ball": "withstand.core.threat",
    "Run": "withstand.api.runs",
    "Victim": "withstand.core.victims.victim",
    "attack": "withstand.api.networks",
    "audit": "withstand.api.networks",
    "certify": "withstand.api.networks",
    "build": "withstand.core.part",
    "describe": "withstand.core.part",
    "inspect": "withstand.api.inspecting",
    "match": "withstand.api.matching",
    "open_run": "withstand.api.front",
    "steer": "withstand.api.adversaries.steering",
    "trace": "withstand.api.adversaries.tracing",
    "train": "withstand.api.front",
}

__all__ = [
    "Audit",
    "Ball",
    "Certification",
    "Inputs",
    "Inspection",
    "Matching",
    "NamedAttack",
    "Run",
    "Steering",
    "Tracing",
    "Victim",
    "__version__",
    "attack",
    "audit",
    "build",
    "certify",
    "describe",
    "inspect",
    "match",
    "open_run",
    "steer",
    "trace",
    "train",
]


def __getattr__(name: str) -> object:
    if name not in _WHERE:
        raise AttributeError(f"module 'withstand' has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return __all__
