"""What methods share that go on with a method which an earlier stage trained."""

from torch import nn

from withstand.core.errors import ConfigError
from withstand.core.part import describe
from withstand.core.roles import Method
from withstand.methods.shared.wrappers.wrapper import Wrapper
from withstand.models.tokens.causal import CausalLM


class Continued(Wrapper):
    """Base of methods round another one, whose weights are at first those of the earlier stage's method."""

    def inherit(self, earlier: Method) -> None:
        take_over(self.method, bare(earlier))


def bare(method: Method) -> Method:
    """Return the method that is trained on and on, which stages after the first have inside."""
    return method.method if isinstance(method, Continued) else method


def take_over(network: nn.Module, other: nn.Module) -> None:
    """Give a network the parameters and buffers of another one of its make.

    Raises:
        ConfigError: it is of another make.
    """
    try:
        network.load_state_dict(other.state_dict())
    except RuntimeError as error:
        kinds = (type(other).__name__, type(network).__name__)
        what = str(error).splitlines()[-1].strip()
        raise ConfigError(f"the earlier stage's {kinds[0]} does not fit this {kinds[1]}: {what}") from error


def take_over_language_model(language_model: CausalLM, earlier: Method) -> None:
    """Give a language model the weights that an earlier stage learnt.

    Models of different makes may have weights of the same names and shapes, so their descriptions are compared.

    Raises:
        ConfigError: the earlier stage gives no language model, or another one.
    """
    known = earlier.product("language model")
    if not isinstance(known, CausalLM):
        raise ConfigError(f"{type(earlier).__name__} gives no language model to go on with")
    if describe(known) != describe(language_model):
        raise ConfigError(
            f"the earlier stage's language model is another one, {known.name} with tuning {known.tuning!r}: take "
            "the same, with the same rank, alpha and dropout"
        )
    language_model.load_state_dict(known.state_dict())
