"""VNN-LIB files: properties of small networks, and files with a part dropped, doubled, nested or replaced."""

from random import Random

from benchmarks.fuzz.reader import Reader
from withstand.verification.exchange.vnnlib import read_vnnlib

_NUMBERS = ("0", "-1", "1e400", "nan", "inf", "0x10", "1_000", "١", "--1", "1e-400", "9" * 400, "(- 1)", "(* 2 Y_0)")
_WORDS = (
    "and",
    "or",
    "not",
    "<=",
    ">=",
    "<",
    "=",
    "assert",
    "declare-const",
    "declare-fun",
    "X_0",
    "Y_0",
    "X_00",
    "Real",
)
_WORDS += (
    "X_999999999999",
    "Y_-1",
    "X_",
    "(",
    ")",
    ";",
    "",
    '"',
    "|",
    "\x00",
    "é",
    "()",
    "(and)",
    "(or)",
    "+",
    "-",
    "*",
)


_LONGEST = 2 << 20


def _tokens(draws: Random) -> list[str]:
    """Return a valid file as its tokens, one list item each."""
    inputs, outputs = draws.choice((1, 2, 5)), draws.choice((1, 2, 3))
    text = [f"(declare-const X_{place} Real)" for place in range(inputs)]
    text += [f"(declare-const Y_{place} Real)" for place in range(outputs)]
    text.append("; a comment (with brackets")
    for place in range(inputs):
        low = draws.uniform(-3, 3)
        if draws.random() < 0.2:
            text.append(
                f"(assert (or (and (<= X_{place} 1) (>= X_{place} 0)) (and (<= X_{place} 3) (>= X_{place} 2))))"
            )
        else:
            text += [f"(assert (>= X_{place} {low!r}))", f"(assert (<= X_{place} {low + draws.random()!r}))"]
    pairs = [(draws.randrange(outputs), draws.randrange(outputs)) for _ in range(draws.choice((1, 2, 9)))]
    rows = [f"(<= (* 2 Y_{first}) (+ Y_{second} 0.5))" for first, second in pairs]
    text.append(f"(assert (or {' '.join(f'(and {row} (>= Y_0 -1e3))' for row in rows)}))")
    return [token for line in text for token in (*line.replace("(", " ( ").replace(")", " ) ").split(), "\n")]


def valid(draws: Random) -> bytes:
    return " ".join(_tokens(draws)).encode()


def twisted(draws: Random) -> bytes:
    tokens = _tokens(draws)
    for _ in range(draws.choice((1, 1, 2, 5))):
        place = draws.randrange(len(tokens))
        match draws.randrange(8):
            case 0:
                del tokens[place]
            case 1:
                tokens[place] = draws.choice(_WORDS)
            case 2:
                tokens[place] = draws.choice(_NUMBERS)
            case 3:
                tokens.insert(place, draws.choice(_WORDS))
            case 4:
                other = draws.randrange(len(tokens))
                tokens[place], tokens[other] = tokens[other], tokens[place]
            case 5:
                part = tokens[place : place + draws.choice((3, 10, 40))]
                tokens[place:place] = part * draws.choice((1, 3, 200))
            case 6:  # nested deeper than any program recurses
                depth = draws.choice((5, 100, 20_000))
                word = draws.choice(("and", "or", "-", "+", "not", ""))
                tokens[place:place] = [f"( {word}"] * depth + [tokens[place]] + [")"] * depth
            case _:  # as many cases as a product of unions has
                some = " ".join(f"(<= Y_0 {number})" for number in range(draws.choice((2, 50, 3000))))
                tokens += [f"(assert (or {some}))"] * draws.choice((1, 2, 20))
    return " ".join(tokens).encode()[:_LONGEST]


READER = Reader(".vnnlib", valid, twisted, read_vnnlib)
