"""What methods that wrap another method share: every hook goes on to the one inside."""

from torch import Tensor, nn

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError
from withstand.core.roles import Epoch, Method, Model, Product, Source, Terms
from withstand.methods.shared.wrappers.held_encoder import HeldEncoder


class Wrapper(HeldEncoder):
    """Base of methods that change what another method sees, or how its loss is used: a subclass gives `step`.

    Args:
        method: its `step` alone is used, not an `update` of its own.
    """

    def __init__(self, method: Method) -> None:
        super().__init__()
        if type(method).update is not Method.update:
            raise ConfigError(f"{type(method).__name__} runs an update of its own, which cannot be wrapped")
        self.method, self.taught_by, self.share_unit = method, method.taught_by, method.share_unit

    def held_encoder(self) -> Model:
        """Return the wrapped method's encoder."""
        return self.method.encoder

    def inside(self, batch: Batch) -> Terms:
        """Return the wrapped method's terms."""
        terms: Terms = self.method(batch)
        return terms

    def products(self) -> dict[str, Product]:
        return self.method.products()

    def projector(self) -> nn.Module | None:
        return self.method.projector()

    def sample_state(self) -> dict[str, Tensor]:
        return self.method.sample_state()

    def example_batch(self, rows: range = range(8)) -> Batch:
        return self.method.example_batch(rows)

    def accept(self, source: Source, batch: int) -> None:
        self.method.accept(source, batch)

    def inherit(self, earlier: Method) -> None:
        self.method.inherit(earlier)

    def order(self, order: Tensor, batch: int) -> Tensor:
        return self.method.order(order, batch)

    def before_run(self, steps: int) -> None:
        self.method.before_run(steps)

    def before_epoch(self, epoch: Epoch) -> None:
        self.method.before_epoch(epoch)

    def after_step(self, step: int) -> None:
        self.method.after_step(step)
