"""A method whose encoder is part of something else that it holds."""

from abc import abstractmethod

from withstand.core.roles import Method, Model


class HeldEncoder(Method):
    """Base of methods that hold no encoder of their own: a subclass says where theirs is."""

    @property
    def encoder(self) -> Model:  # type: ignore[override]  # it is read alone, and another module holds it
        """What is trained to embed."""
        return self.held_encoder()

    @abstractmethod
    def held_encoder(self) -> Model:
        """Return the encoder, a part of a module that this method holds."""
