"""Byte mutations: what damaged disks, cut transfers and other programs do to a file."""

from random import Random

_NUMBERS = (b"0", b"-1", b"1e309", b"nan", b"2147483648", b"99999999999999999999", b"1e-320", b"\x00", b"\xff\xfe", b"")


def mutate(content: bytes, other: bytes, draws: Random) -> bytes:
    """Return a content with one to eight changes; `other` is a second file, to splice with."""
    data = bytearray(content)
    for _ in range(draws.choice((1, 1, 1, 2, 3, 8))):
        _once(data, other, draws)
    return bytes(data)


def _once(data: bytearray, other: bytes, draws: Random) -> None:
    size = len(data)
    place = draws.randrange(size + 1)
    length = min(size - place, draws.choice((1, 1, 2, 4, 16, 256)))
    match draws.randrange(9):
        case 0 if place < size:
            data[place] ^= 1 << draws.randrange(8)
        case 1 if place < size:
            data[place] = draws.choice((0, 1, 0x7F, 0x80, 0xFF, draws.randrange(256)))
        case 2:
            del data[place : place + length]
        case 3:
            del data[place:]
        case 4:
            data[place:place] = draws.randbytes(draws.choice((1, 2, 8, 64)))
        case 5:  # something twice, or many times
            data[place:place] = data[place : place + length] * draws.choice((1, 1, 2, 50))
        case 6:
            begin = draws.randrange(len(other) + 1)
            data[place:place] = other[begin : begin + draws.choice((4, 32, 512))]
        case 7:
            data[place : place + length] = draws.choice(_NUMBERS)
        case _:  # two parts change places
            end = min(size, place + length)
            begin = draws.randrange(size + 1)
            part = bytes(data[place:end])
            del data[place:end]
            data[begin:begin] = part
