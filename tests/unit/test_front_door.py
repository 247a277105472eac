"""What `import withstand` offers, in fresh interpreters: every name, both ways of asking, in any order."""

import pkgutil
import subprocess
import sys

import pytest

import withstand

CALLS = [name for name in withstand.__all__ if name != "__version__"]
ALL_ROOMS = """
import importlib, pkgutil, withstand
for room in pkgutil.iter_modules(withstand.__path__, "withstand."):
    if room.name != "withstand.__main__":
        importlib.import_module(room.name)
"""


def run(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)


def asked(name: str, as_attribute: bool) -> str:
    how = f"import withstand; thing = withstand.{name}" if as_attribute else f"from withstand import {name} as thing"
    return f"{how}\nassert callable(thing), ({name!r}, thing)\n"


@pytest.mark.thorough
@pytest.mark.parametrize("names", [CALLS, CALLS[::-1]], ids=["in order", "in reverse"])
def test_every_name_can_be_called_first_of_all_and_after_every_room_was_imported(names: list[str]) -> None:
    questions = "".join(asked(name, as_attribute=True) + asked(name, as_attribute=False) for name in names)
    run(questions + ALL_ROOMS + questions)


def test_no_name_is_also_a_room() -> None:
    assert not {room.name for room in pkgutil.iter_modules(withstand.__path__)} & set(CALLS)


@pytest.mark.thorough
def test_what_trains_nothing_imports_nothing_that_only_training_needs() -> None:
    run(
        "import sys; from withstand.cli.main import main\n"
        "for words in (['train', 'simclr', '--help'], ['audit', '--help'], ['certify', '--help']):\n"
        "    try: main(words)\n"
        "    except SystemExit: pass\n"
        "assert not {'lightning_fabric', 'torch._dynamo', 'torchvision'} & set(sys.modules), 'slow imports'"
    )
