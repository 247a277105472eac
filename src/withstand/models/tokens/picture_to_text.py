"""What a network looks like that says something of a picture: how likely it is to say a text, and what it says.

Sizes: `N` pictures, `B` texts.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from withstand.core.errors import ConfigError


@dataclass(frozen=True)
class Scored:
    """How likely texts are, each as the answer to its prompt about its picture.

    Attributes:
        nll: minus the log-probability of the whole text and of its end, in nats, `(B,)`.
        exact: whether the likeliest token at each place is the text's own, bool `(B,)`: greedy decoding then says this
            text and nothing else.
        tokens: how many tokens the text has, its end included, int64 `(B,)`.
    """

    nll: Tensor
    exact: Tensor
    tokens: Tensor


class PictureToText(nn.Module, ABC):
    """A network that answers prompts about pictures `(N, C, H, W)` in [0, 1], its normalisation and resizing inside.

    A picture is read once, for any number of prompts and texts. All that hangs on the pixels can be differentiated.

    Attributes:
        notes: what is to be known of how it reads pictures, in words.
    """

    notes: tuple[str, ...] = ()

    @abstractmethod
    def read(self, images: Tensor) -> Tensor:
        """Return what the text half knows of pictures, `(N, ...)`: one row a picture."""

    @abstractmethod
    def score(self, seen: Tensor, prompts: Sequence[str], targets: Sequence[str], rows: Tensor | None = None) -> Scored:
        """Return how likely each text is, as the answer to its prompt about its picture.

        Args:
            seen: what was read of pictures, `(N, ...)`.
            prompts: B of them.
            targets: B texts, as `require` takes them.
            rows: which picture each text is about, int64 `(B,)`; None for one text a picture, in their order.
        """

    @abstractmethod
    def write(self, seen: Tensor, prompts: Sequence[str]) -> list[str]:
        """Return the answer to each prompt about its picture, by greedy decoding.

        Args:
            seen: what was read of pictures, `(N, ...)`.
            prompts: N of them.
        """

    @abstractmethod
    def require(self, text: str, what: str) -> None:
        """Refuse a text that this network cannot say, or reads as another one.

        Raises:
            ConfigError: names the word.
        """

    def nll(self, images: Tensor, prompts: Sequence[str], targets: Sequence[str]) -> Tensor:
        """Return minus the log-probability of each target, in nats, `(N,)`; gradients reach the pictures.

        Args:
            images: in [0, 1], `(N, C, H, W)`.
            prompts: one a picture.
            targets: what shall be said of each.
        """
        self.check(images, prompts, targets)
        return self.score(self.read(images), prompts, targets).nll

    def say(self, images: Tensor, prompts: Sequence[str]) -> list[str]:
        """Return what is said of each picture, by greedy decoding.

        Args:
            images: in [0, 1], `(N, C, H, W)`.
            prompts: one a picture.
        """
        self.check(images, prompts)
        return self.write(self.read(images), prompts)

    @staticmethod
    def check(images: Tensor, *texts: Sequence[str]) -> None:
        """Refuse texts that are not one a picture.

        Raises:
            ConfigError: with both numbers.
        """
        for some in texts:
            if isinstance(some, str) or len(some) != len(images):
                count = "one string" if isinstance(some, str) else f"{len(some)} texts"
                raise ConfigError(f"there are {len(images)} pictures and {count}: give one text a picture, in a list")
