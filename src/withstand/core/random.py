"""Counter-based randomness: draws are a function of (seed, epoch, sample index), not of history.

A sample's draws do not depend on which others share its batch, on the number of processes, or on what
was drawn before. Skipping batches needs no draws, so resuming in mid-epoch is exact. The mixer is the
finaliser of SplitMix64 (Steele, Lea, Flood 2014) applied to counters, in int64 tensor arithmetic that
wraps alike on every device.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b

import torch
from torch import Tensor


def _signed(value: int) -> int:
    """Return the low 64 bits of `value` as a signed integer."""
    return (value + (1 << 63)) % (1 << 64) - (1 << 63)


_GOLDEN = _signed(0x9E3779B97F4A7C15)
_FIRST = _signed(0xBF58476D1CE4E5B9)
_SECOND = _signed(0x94D049BB133111EB)


def _mix(z: Tensor) -> Tensor:
    """Scramble int64 values, in place; a bijection with full avalanche."""
    z ^= (z >> 30).bitwise_and_((1 << 34) - 1)
    z *= _FIRST
    z ^= (z >> 27).bitwise_and_((1 << 37) - 1)
    z *= _SECOND
    z ^= (z >> 31).bitwise_and_((1 << 33) - 1)
    return z


def derive(*words: int | str) -> int:
    """Return a 63-bit seed that depends on every one of the words, and on their order.

    >>> derive(0, "order", 1) != derive(0, "order", 2)
    True
    """
    digest = blake2b(repr(words).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


class Draws:
    """Random numbers for N samples, one independent stream each.

    Args:
        seed: the experiment's seed.
        index: each sample's index, int64 `(N,)`; draws are made on its device.
        epoch: the pass over the data.

    Successive calls give fresh numbers. `child(name)` opens an independent stream, so that one view's
    draws do not move when another is added before it.

    >>> draws = Draws(0, torch.arange(4))
    >>> draws.uniform(2).shape
    torch.Size([4, 2])
    """

    def __init__(self, seed: int, index: Tensor, *, epoch: int = 0) -> None:
        key = index.to(torch.int64) * _GOLDEN
        key += _signed(derive(seed, epoch))
        self._keys = _mix(key)
        self._calls = 0

    @classmethod
    def _of(cls, keys: Tensor) -> "Draws":
        draws = cls.__new__(cls)
        draws._keys, draws._calls = keys, 0
        return draws

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, rows: Tensor | slice) -> "Draws":
        """Return fresh draws of the chosen samples, as if no number had been drawn yet."""
        return self._of(self._keys[rows])

    @property
    def device(self) -> torch.device:
        """Where draws are made."""
        return self._keys.device

    def child(self, name: int | str) -> "Draws":
        """Return an independent stream for each sample; the same name gives the same stream."""
        return self._of(_mix(self._keys + _signed(derive("child", name))))

    def bits(self, *shape: int) -> Tensor:
        """Return uniform int64 bits, `(N, *shape)`."""
        count = math.prod(shape)
        counters = torch.arange(1, count + 1, device=self.device, dtype=torch.int64)
        counters += self._calls << 40
        self._calls += 1
        counters *= _GOLDEN
        return _mix(self._keys[:, None] + counters).view(len(self), *shape)

    def bits_at(self, places: Tensor) -> Tensor:
        """Return the bits that stand at `places` of each stream, int64 `(N, ...)` as these are, at least 0 each.

        For samples that go through their streams at their own pace; a child's places are not its parent's.
        """
        return _mix((places + 1) * _GOLDEN + self._keys.view(-1, *[1] * (places.dim() - 1)))

    def uniform_at(self, places: Tensor) -> Tensor:
        """Return float32 numbers in [0, 1) that stand at `places` of each stream; see `bits_at`."""
        return (self.bits_at(places) >> 40).bitwise_and_((1 << 24) - 1).to(torch.float32).mul_(2.0**-24)

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Return float32 numbers in [low, high), `(N, *shape)`; beyond [0, 1), rounding may reach `high`."""
        unit = (self.bits(*shape) >> 40).bitwise_and_((1 << 24) - 1).to(torch.float32).mul_(2.0**-24)
        return unit.mul_(high - low).add_(low) if (low, high) != (0.0, 1.0) else unit

    def normal(self, *shape: int) -> Tensor:
        """Return standard normal float32 numbers, `(N, *shape)`, by the Box-Muller transform."""
        bits = self.bits(*shape)
        first = (bits >> 40).bitwise_and_((1 << 24) - 1).to(torch.float32).add_(1).mul_(2.0**-24)
        second = bits.bitwise_and_((1 << 24) - 1).to(torch.float32).mul_(2.0**-23 * math.pi)
        return first.log_().mul_(-2).sqrt_().mul_(second.cos_())

    def integers(self, low: int, high: int, *shape: int) -> Tensor:
        """Return int64 numbers in [low, high), `(N, *shape)`; the range must be under 2^31 wide."""
        wide = (self.bits(*shape) >> 32).bitwise_and_((1 << 32) - 1)
        return (wide * (high - low) >> 32) + low

    def chance(self, probability: float, *shape: int) -> Tensor:
        """Return booleans that are true with `probability`, `(N, *shape)`."""
        return self.uniform(*shape) < probability

    def permutations(self, count: int) -> Tensor:
        """Return a uniform permutation of `range(count)` for each sample, int64 `(N, count)`."""
        return self.bits(count).argsort(dim=1)


def as_draws(generator: "Draws | torch.Generator | int | None", count: int, device: torch.device) -> Draws:
    """Return `count` streams from whatever a caller may hold: draws, a torch generator, a seed, nothing (seed 0)."""
    if isinstance(generator, Draws):
        return generator
    if isinstance(generator, torch.Generator):
        generator = int(torch.randint(1 << 62, (), generator=generator, device=generator.device))
    return Draws(generator or 0, torch.arange(count, device=device))


def content_draws(seed: int, x: Tensor) -> Draws:
    """Return a stream for each sample `(N, ...)` that hangs on its content, bit for bit, and on the seed.

    Draws of that kind make a fixed function of a sample: its batch does not matter, and asking twice gives nothing new.
    """
    # Adding 0 makes one number of 0 and -0.
    bits = (x.detach().to(torch.float32) + 0.0).contiguous().flatten(1).view(torch.int32).to(torch.int64)
    weights = Draws(0, torch.zeros(1, dtype=torch.int64, device=x.device)).bits(bits.shape[1])
    return Draws(seed, (bits * (weights | 1)).sum(1))


def permutation(count: int, *words: int | str) -> Tensor:
    """Return the order of `count` things that belongs to the words, say `(seed, "order", epoch)`."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(derive(*words)))


def ranked(count: int, *words: int | str) -> Tensor:
    """Return places 0 to `count` in an order drawn by the words and each place: of two, more places change nothing."""
    return Draws(derive(*words), torch.arange(count)).bits(1)[:, 0].argsort(stable=True)


@contextmanager
def isolated(*words: int | str) -> Iterator[None]:
    """Give torch's global generators the state that belongs to the words, and restore theirs after.

    For code that can only draw from the global state: weight initialisation, dropout. Without words the
    state is kept as it is, but still restored.
    """
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]  # torch
    with torch.random.fork_rng(devices=devices):
        if words:
            torch.manual_seed(derive(*words))
        yield
