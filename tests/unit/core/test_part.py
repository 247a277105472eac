"""Parts: described, built again, and never a way to run someone else's code."""

import copy
import functools
import inspect
import json
import pickle
import pydoc
from abc import abstractmethod
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from withstand.core import part as part_module
from withstand.core.errors import ConfigError
from withstand.core.part import Part, build, describe, externals, override

ALLOW = ("test_part",)


class Leaf(Part):
    """A leaf.

    Args:
        size: how big.
        names: of what.
    """

    def __init__(self, size: int, names: tuple[str, ...] = ("a",), *, rate: float = 0.5) -> None:
        self.size, self.names, self.rate = size, names, rate


@dataclass(frozen=True)
class Frozen(Part):
    """A frozen value with a made default."""

    leaf: Leaf = field(default_factory=lambda: Leaf(3))
    scales: tuple[float, ...] = (1.0, 2.0)
    hidden: int = field(default=7, init=False)


class Branch(Part, nn.Module):
    """A module that holds parts, one of them a module."""

    def __init__(self, leaves: tuple[Leaf, ...] = (), *, inner: nn.Module | None = None, act: object = None) -> None:
        super().__init__()
        self.leaves, self.inner, self.act = leaves, inner, act
        self.weight = nn.Parameter(torch.zeros(2))


class Plain(Branch):
    """Inherits its constructor."""


class Custom(Frozen):
    """A plain class with a constructor of its own below a dataclass with a made default."""

    def __init__(self, size: int) -> None:
        super().__init__(leaf=Leaf(size))


class Role(Part):
    """Only a role."""

    @abstractmethod
    def play(self) -> None: ...


class Wild(Part):
    """Not allowed."""

    def __init__(self, *args: int, **kwargs: int) -> None:
        self.args, self.kwargs = args, kwargs


class Empty(Part):
    """Nothing to configure."""


class Outer:
    """Holds a function that is not at module level."""

    @staticmethod
    def method() -> None:
        """Do nothing."""


def twice(x: float) -> float:
    return 2 * x


@functools.wraps(twice)
def wrapped(x: float) -> float:
    return twice(x)


def again(value: object, **settings: object) -> object:
    """Through text and back."""
    return build(json.loads(json.dumps(describe(value))), allow=ALLOW, **settings)


def test_tree_of_a_nested_part() -> None:
    assert describe(Branch((Leaf(1), Leaf(2, ("x", "y"), rate=0.1)), act=twice)) == {
        "class_path": "test_part.Branch",
        "init_args": {
            "leaves": [
                {"class_path": "test_part.Leaf", "init_args": {"size": 1, "names": ["a"], "rate": 0.5}},
                {"class_path": "test_part.Leaf", "init_args": {"size": 2, "names": ["x", "y"], "rate": 0.1}},
            ],
            "inner": None,
            "act": {"reference": "test_part.twice"},
        },
    }


def test_round_trip_through_json() -> None:
    built = again(Branch((Leaf(1), Leaf(2, ("x", "y"))), inner=Plain(), act=twice))
    assert isinstance(built, Branch)
    assert [leaf.size for leaf in built.leaves] == [1, 2]
    assert built.leaves[1].names == ("x", "y")  # a tuple again
    assert type(built.inner) is Plain
    assert built.act is twice
    assert sum(1 for _ in built.parameters()) == 2  # the record does not register modules twice


def test_default_factories_are_recorded_with_what_they_made() -> None:
    built = again(Frozen())
    assert isinstance(built, Frozen)
    assert (built.leaf.size, built.scales, built.hidden) == (3, (1.0, 2.0), 7)
    assert describe(built)["init_args"].keys() == {"leaf", "scales"}
    assert again(Frozen(leaf=Leaf(9))).leaf.size == 9


def test_a_constructor_below_a_dataclass_counts_alone() -> None:
    assert describe(Custom(4)) == {"class_path": "test_part.Custom", "init_args": {"size": 4}}
    assert again(Custom(4)).leaf.size == 4


def test_nothing_to_configure() -> None:
    assert describe(Empty()) == {"class_path": "test_part.Empty", "init_args": {}}
    assert isinstance(build({"class_path": "test_part.Empty"}, allow=ALLOW), Empty)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(min_size=12), inner, max_size=3),
    max_leaves=8,
)


class Holder(Part):
    def __init__(self, value: object) -> None:
        self.value = value


@given(json_values)
def test_plain_values_survive(value: object) -> None:
    assert describe(again(Holder(value))) == describe(Holder(value))
    assert describe(build(describe(value))) == value


@pytest.mark.parametrize("make", [lambda: Leaf(1), Frozen, lambda: Branch((Leaf(1),), inner=Plain(), act=twice)])
def test_copies_keep_the_record(make) -> None:
    one = make()
    for other in (copy.copy(one), copy.deepcopy(one), pickle.loads(pickle.dumps(one))):
        assert describe(other) == describe(one)
        assert type(other) is type(one)


def test_a_deep_copy_records_its_own_modules() -> None:
    other = copy.deepcopy(Branch(inner=Plain()))
    assert other._init_args["inner"] is other.inner


def test_paths_are_text_and_wrapped_functions_are_found() -> None:
    assert describe(Path("a") / "b") == "a/b"
    assert describe(wrapped) == {"reference": "test_part.twice"}  # functools.wraps renames


def test_externals_are_named_and_must_be_supplied() -> None:
    array, net = np.zeros((2, 3)), nn.Linear(2, 2)
    part = Branch((Leaf(array),), inner=net, act=lambda x: x)
    tree = describe(part)
    assert tree["init_args"]["leaves"][0]["init_args"]["size"] == {
        "external": "numpy.ndarray", "shape": [2, 3], "dtype": "float64",
    }  # fmt: skip
    found = externals(part)
    assert found.keys() == {"leaves.0.size", "inner", "act"}
    with pytest.raises(ConfigError, match=r"numpy\.ndarray at leaves\.0\.size .*supply it again"):
        build(tree, allow=ALLOW)
    built = build(json.loads(json.dumps(tree)), allow=ALLOW, supply=found)
    assert built.leaves[0].size is array
    assert built.inner is net


def test_functions_that_cannot_be_found_again_are_external() -> None:
    for function in (lambda: None, Outer.method, torch.relu, functools.partial(twice, 1)):
        assert "external" in describe(function)


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "subprocess.Popen",
        "builtins.eval",
        "torch.load",
        "toys.ToyPictures",
        "withstandx.core.part.Part",
        "",
        ".core.part.Part",
    ],
)
@pytest.mark.parametrize("kind", ["class_path", "reference"])
def test_foreign_code_is_refused(name: str, kind: str) -> None:
    with pytest.raises(ConfigError):
        build({kind: name})


@pytest.mark.parametrize(
    "name",
    [
        "withstand.core.part.importlib.import_module",  # through a module that withstand imported
        "withstand.core.part.importlib",
        "withstand.engine.folder.subprocess",
        "withstand.engine.folder.shutil.rmtree",
        "withstand.core.part.get_close_matches",
        "withstand.core.errors.get_close_matches",  # a foreign function under our name
        "withstand.core.part.Part.__subclasses__",
        "withstand.core.part.__builtins__",
        "withstand",
        "withstand.",
        "withstand..core.part.Part",
    ],
)
@pytest.mark.parametrize("kind", ["class_path", "reference"])
def test_foreign_code_by_way_of_withstand_is_refused(name: str, kind: str) -> None:
    with pytest.raises(ConfigError):
        build({kind: name})


def test_neither_role_mixes_with_the_other() -> None:
    with pytest.raises(ConfigError):
        build({"class_path": "test_part.twice"}, allow=ALLOW)
    with pytest.raises(ConfigError):
        build({"reference": "test_part.Leaf"}, allow=ALLOW)
    with pytest.raises(ConfigError):
        build({"class_path": "test_part.Outer"}, allow=ALLOW)


def test_the_refusal_says_how_to_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="refused unless you allow module 'test_part'"):
        build(describe(Leaf(1)))
    assert build(describe(Leaf(1)), allow=("test_part.anything",)).size == 1
    with pytest.raises(ConfigError, match="refused unless"):
        build({"class_path": "test_parts.Leaf"}, allow=ALLOW)  # a prefix is not enough


def test_a_re_export_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part_module, "Leaf", Leaf, raising=False)
    with pytest.raises(ConfigError, match="only re-exported there"):
        build({"class_path": "withstand.core.part.Leaf", "init_args": {"size": 1}}, allow=ALLOW)


def tree(**arguments: object) -> dict[str, object]:
    return {"class_path": "test_part.Leaf", "init_args": arguments}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"class_path": "test_part.Laef"}, "'test_part' has no 'Laef': did you mean 'Leaf'"),
        ({"class_path": "test_part.deep.Leaf"}, "there is no module 'test_part.deep'"),
        (tree(size=1, raet=0.1), "Leaf has no argument 'raet': did you mean 'rate'?"),
        (tree(), "Leaf needs 'size'"),
        ({"class_path": "test_part.Role"}, "Role is only a role"),
        ({"class_path": "test_part.Leaf", "init_args": [1]}, "init_args must be a table of arguments, not list"),
        ({"class_path": "test_part.Branch", "init_args": {"leaves": [tree()]}}, "Leaf at leaves.0 needs 'size'"),
    ],
)
def test_mistakes_name_the_remedy(given: dict[str, object], told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build(given, allow=ALLOW)
    assert told in str(caught.value)


def test_a_module_that_fails_to_import_keeps_its_own_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "needy.py").write_text("import need\n")  # its name is the start of the module's
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="No module named 'need'"):
        build({"class_path": "needy.Part"}, allow=("needy",))


def test_variable_arguments_are_refused() -> None:
    with pytest.raises(TypeError, match=r"Wild\.__init__ takes \*args: int: a part names its arguments"):
        Wild()


def test_signature_and_help_show_the_constructor() -> None:
    assert str(inspect.signature(Leaf)) == "(size: int, names: tuple[str, ...] = ('a',), *, rate: float = 0.5)"
    assert str(inspect.signature(Plain)) == str(inspect.signature(Branch))
    assert list(inspect.signature(Frozen).parameters) == ["leaf", "scales"]
    assert str(inspect.signature(Empty)) == "()"
    text = pydoc.plain(pydoc.render_doc(Leaf))
    assert "class Leaf(" in text
    assert "Leaf(size: int, names" in text
    assert "how big" in text


def test_wrong_calls_are_pythons_own_errors() -> None:
    with pytest.raises(TypeError, match="size"):
        Leaf()
    with pytest.raises(TypeError, match="depth"):
        Leaf(1, depth=2)


@pytest.fixture
def nested() -> dict[str, object]:
    return describe(Branch((Leaf(1), Leaf(2, ("x", "y"))), inner=Frozen()))


@pytest.mark.parametrize(
    ("dotted", "value", "read"),
    [
        ("leaves.1.size", 5, lambda part: part.leaves[1].size),
        ("leaves.1.names.0", "z", lambda part: part.leaves[1].names[0]),
        ("inner.leaf.rate", 0.9, lambda part: part.inner.leaf.rate),
        ("inner.scales", (3.0,), lambda part: part.inner.scales),
        ("act", None, lambda part: part.act),
    ],
)
def test_override(dotted: str, value: object, read, nested: dict[str, object]) -> None:
    override(nested, dotted, list(value) if isinstance(value, tuple) else value)
    assert read(build(nested, allow=ALLOW)) == value


@pytest.mark.parametrize(
    ("dotted", "told"),
    [
        ("inner.leaf.raet", "there is no 'raet' here: did you mean 'rate'?"),
        ("iner.leaf.rate", "there is no 'iner' here: did you mean 'inner'?"),
        ("leaves.7.size", "there is no '7' here: allowed: 0, 1"),
        ("leaves.-1", "there is no '-1' here"),
        ("leaves.0.size.deep", "'deep' is inside a plain value"),
        ("inner.class_path", "there is no 'class_path' here"),
        ("", "there is no ''"),
    ],
)
def test_override_mistakes(dotted: str, told: str, nested: dict[str, object]) -> None:
    before = copy.deepcopy(nested)
    with pytest.raises(ConfigError) as caught:
        override(nested, dotted, 1)
    assert told in str(caught.value)
    assert nested == before
