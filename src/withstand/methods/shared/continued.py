"""What methods share that go on with a method which an earlier stage trained."""

from torch import nn

from withstand.core.errors import ConfigError
from withstand.core.roles import Method
from withstand.methods.shared.wrapper import Wrapper


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
