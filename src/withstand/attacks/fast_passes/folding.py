"""Folding: a frozen model in fewer or faster steps, with the same outputs and slopes.

An attack asks the same frozen model for thousands of passes. Batch normalisations in eval mode are linear, and go into
the convolutions before them; strided first layers take a shorter way back. The model itself is never touched: its tree
of modules is copied without its tensors, and the copy is used only where its outputs and slopes are the model's own to
rounding. Whatever cannot be folded with certainty is left as it is.
"""

from collections.abc import Callable
from copy import copy

import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module
from torch.nn.modules.batchnorm import _BatchNorm

from withstand.attacks.fast_passes.strided import shorten_slopes
from withstand.core.random import isolated
from withstand.core.victims.victim import Outputs, Victim
from withstand.models.blocks.normalization.norm import GlobalBatchNorm

_LINEAR = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm, GlobalBatchNorm)
_HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
)
_ROUNDING = 2000
"""Outputs may differ by this many units of the last place of the largest one; a wrong fold is off by far more."""


def folded(victim: Victim, x: Tensor) -> Victim:
    """Return a victim with the same outputs and slopes in less time, or the victim itself where nothing can be folded.

    Models that carry hooks are left alone: a hook may want to see what the folded model no longer computes.

    Args:
        victim: held, so in eval mode.
        x: a few inputs in its range, on which outputs are compared.
    """
    model = victim.model
    if not may_copy(victim, x) or not isinstance(model, nn.Module) or not _may_fold(model):
        return victim
    try:
        copied = twin(model)
        fast = victim.like(copied)
        pairs = _pairs(copied, lambda: _look(fast, x))
        for linear, norm in pairs:
            _fold(linear, norm)
        shortened = shorten_slopes(copied) if x.device.type == "cpu" else 0
        if (not pairs and not shortened) or not _same(_look(victim, x), _look(fast, x)):
            return victim
        return fast if not shortened or _near(_slope(victim, x), _slope(fast, x)) else victim
    except Exception:  # whatever a model does that a copy of it cannot: the model itself does it
        return victim


def may_copy(victim: Victim, x: Tensor) -> bool:
    """Return whether a copy can stand for the victim: a plain one of a plain network that nobody watches."""
    model = victim.model
    if type(victim) is not Victim or not isinstance(model, nn.Module) or not len(x):
        return False
    modules = list(model.modules())
    watched = torch_module._global_forward_hooks or torch_module._global_forward_pre_hooks
    if watched or any(getattr(module, name, None) for module in modules for name in _HOOKS):
        return False
    return not any(isinstance(module, torch.jit.ScriptModule) for module in modules)


def _may_fold(model: nn.Module) -> bool:
    """Return whether there is something to fold, or a way back to shorten."""
    kinds = {type(module) for module in model.modules()}
    strided = any(isinstance(module, nn.Conv2d) and module.stride != (1, 1) for module in model.modules())
    return strided or (not kinds.isdisjoint(_LINEAR) and not kinds.isdisjoint(_NORMS))


def twin(model: nn.Module) -> nn.Module:
    """Return a tree of new modules that hold the model's own tensors."""
    return _copy(model, {})


def _copy(module: nn.Module, known: dict[int, nn.Module]) -> nn.Module:
    """Return a tree of new modules that hold the same tensors."""
    if id(module) not in known:
        twin = copy(module)
        known[id(module)] = twin
        for name in ("_parameters", "_buffers", *_HOOKS):
            twin.__dict__[name] = copy(module.__dict__[name])
        twin.__dict__["_modules"] = {
            name: None if child is None else _copy(child, known) for name, child in module._modules.items()
        }
    return known[id(module)]


def _look(victim: Victim, x: Tensor) -> Outputs:
    """Return the outputs; a model that draws at random draws the same every time."""
    with isolated("folding"), torch.no_grad():
        return victim(x.clone())


def _slope(victim: Victim, x: Tensor) -> Tensor:
    """Return the slope of all outputs together by the inputs."""
    with isolated("folding"), torch.enable_grad():
        x = x.clone().requires_grad_(True)
        outputs = victim(x)
        values = [outputs] if isinstance(outputs, Tensor) else outputs.values()
        total = sum((value.double().cos().sum() for value in values), torch.zeros((), dtype=torch.float64))
        return torch.autograd.grad(total, x)[0]


def _same(wanted: Outputs, found: Outputs) -> bool:
    if isinstance(wanted, Tensor) or isinstance(found, Tensor):
        return isinstance(wanted, Tensor) and isinstance(found, Tensor) and _near(wanted, found)
    return wanted.keys() == found.keys() and all(_near(wanted[name], found[name]) for name in wanted)


def _near(wanted: Tensor, found: Tensor) -> bool:
    size = _ROUNDING * torch.finfo(wanted.dtype).eps * wanted.abs().max()
    return wanted.shape == found.shape and bool(((wanted - found).abs() <= size).all())


def _pairs(model: nn.Module, look: Callable[[], object]) -> list[tuple[nn.Module, _BatchNorm]]:
    """Return each layer with the normalisation that takes its output, both called once in a pass."""
    calls: list[tuple[nn.Module, Tensor, Tensor]] = []

    def listen(module: nn.Module) -> None:
        plain = module.forward

        def forward(x: Tensor) -> Tensor:
            out: Tensor = plain(x)
            calls.append((module, x, out))
            return out

        module.__dict__["forward"] = forward

    chosen = [module for module in model.modules() if _is_plain(module)]
    for module in chosen:
        listen(module)
    try:
        look()
    finally:
        for module in chosen:
            del module.__dict__["forward"]
    once = [call for call in calls if sum(call[0] is other[0] for other in calls) == 1]
    layers = [call for call in once if type(call[0]) in _LINEAR]
    norms = [call for call in once if type(call[0]) in _NORMS]
    return [
        (layer, norm)
        for layer, _, out in layers
        for norm, taken, _ in norms
        if taken is out and isinstance(norm, _BatchNorm) and not (type(layer) is nn.Linear and out.dim() != 2)
    ]


def _is_plain(module: nn.Module) -> bool:
    """Return whether a module is one of torch's own layers, as it was made, with fixed statistics."""
    if "forward" in module.__dict__:
        return False
    if type(module) in _LINEAR:
        return isinstance(module._parameters.get("weight"), Tensor)
    statistics = getattr(module, "running_mean", None), getattr(module, "running_var", None)
    return type(module) in _NORMS and not module.training and all(value is not None for value in statistics)


def _fold(layer: nn.Module, norm: _BatchNorm) -> None:
    """Put a normalisation into the layer before it; both are the copy's."""
    weight, bias = layer._parameters["weight"], layer._parameters["bias"]
    assert weight is not None
    mean, variance = (norm.get_buffer(name).double() for name in ("running_mean", "running_var"))
    gain, offset = norm._parameters["weight"], norm._parameters["bias"]
    scale = (variance + float(norm.eps)).rsqrt() * (1 if gain is None else gain.detach().double())
    shift = (0 if bias is None else bias.detach().double()) - mean
    shift = shift * scale + (0 if offset is None else offset.detach().double())
    wide = scale.view(-1, *[1] * (weight.dim() - 1))
    for name, value in (("weight", weight.detach().double() * wide), ("bias", shift)):
        layer._parameters[name] = nn.Parameter(value.to(weight.dtype), requires_grad=False)
    norm.__dict__["forward"] = _identity


def _identity(x: Tensor) -> Tensor:
    return x
