"""Batches that hold whole groups of samples: which sizes do, and what others are told."""

from withstand.core.errors import ConfigError


def refuse_odd_batch(batch: int, unit: int, fewest: int, most: int, what: str) -> None:
    """Refuse a batch that does not hold whole units, naming the nearest that do and that the data can fill.

    Args:
        batch: how many samples a step takes.
        unit: how many samples belong together.
        fewest: samples of the smallest batch; a multiple of `unit`.
        most: samples that a batch can be filled with.
        what: a batch holds, in words.

    Raises:
        ConfigError: it does not, or holds more units than the data can fill.
    """
    if batch % unit == 0 and fewest <= batch <= most:
        return
    largest = most // unit * unit
    if largest < fewest:
        raise ConfigError(
            f"batch {batch} does not hold {what}: that takes {fewest} samples or more, and the data fill {most}"
        )
    around = (batch // unit * unit, -(-batch // unit) * unit)
    near = " or ".join(map(str, sorted({min(max(size, fewest), largest) for size in around})))
    if batch % unit == 0 and batch > most:
        raise ConfigError(f"batch {batch} is larger than the {most} samples that can fill one: use --batch {near}")
    raise ConfigError(f"batch {batch} does not hold {what}: use --batch {near}")
