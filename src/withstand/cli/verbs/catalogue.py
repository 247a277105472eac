"""list, show, find: what there is."""

from collections.abc import Sequence
from pathlib import Path

from withstand.cli.reply import Reply
from withstand.core.errors import ConfigError
from withstand.core.part import Tree
from withstand.recipes.catalogue import Entry, entries, entry, find, of_kind


def run_list() -> Reply:
    """List the methods, family by family; those in brackets train nothing: withstand reproduce runs them."""
    every = entries()
    families = sorted({item.family for item in every})
    texts = [f"{name}\n{_lines([item for item in every if item.family == name], '  ')}" for name in families]
    facts: dict[str, Tree] = {
        item.slug: {"title": item.title, "family": item.family, "trains": item.trains} for item in every
    }
    legend = "withstand train NAME trains one of these; those in brackets are evaluations: withstand reproduce NAME"
    return Reply("\n\n".join([*texts, legend]), facts)


def run_find(
    words: tuple[str, ...] = (),
    /,
    *,
    family: str | None = None,
    mechanism: str | None = None,
    target: str | None = None,
    granularity: str | None = None,
    guard: str | None = None,
    needs: str | None = None,
) -> Reply:
    """Find methods by what they are for, or by how they learn.

    Args:
        words: what is wanted, say: few labels on graphs
        family: the folder of the recipe, say masked
        mechanism: what kind of task teaches, say predictive
        target: what is told, say pixels
        granularity: of what it is told: picture or patch
        guard: what keeps all pictures from being given one code, say negatives
        needs: what it takes, say teacher
    """
    asked = {
        "family": family,
        "mechanism": mechanism,
        "target": target,
        "granularity": granularity,
        "guard": guard,
        "needs": needs,
    }
    if not words and not any(asked.values()):
        raise ConfigError(f"say in words what is wanted, or one of {', '.join(f'--{axis}' for axis in asked)}")
    kind = of_kind(**asked)
    found = [item for item in find(" ".join(words), len(entries())) if item in kind][:5] if words else kind
    if not found:
        return Reply("nothing fits; `withstand list` names all methods")
    return Reply(_lines(found), {item.slug: item.title for item in found})


def run_show(name: str, *, allow: tuple[str, ...] = ()) -> Reply:
    """Describe a method, or what is in a run folder.

    Args:
        name: a method, or a run folder
    """
    if (Path(name) / "run.json").is_file():
        return _show_run(Path(name), allow)
    try:
        item = entry(name)
    except ConfigError as error:
        raise ConfigError(f"{error}; and there is no run folder of that name") from None
    page = [f"{item.slug}: {item.title}", *(f"\n{key}\n  {value}" for key, value in item.facts.items())]
    return Reply("\n".join(page), {"title": item.title, **item.facts})


def _show_run(path: Path, allow: Sequence[str]) -> Reply:
    from withstand.api.front import open_run

    run = open_run(path, allow=allow)
    record = run.folder.record()
    parts: dict[str, Tree] = {
        name: sum(parameter.numel() for parameter in module.parameters())
        for name, module in run.method.named_children()
    }
    lines = [f"{path}: {record['name']}, {record['status']}", "", "parts, with their parameters"]
    lines += [f"  {name:12} {count:>12,}" for name, count in parts.items()]
    lines += ["", "findings", *(f"  {finding.name}" for finding in run.folder.findings())]
    return Reply("\n".join(lines), {"record": record, "parts": parts})


def _lines(found: Sequence[Entry], indent: str = "") -> str:
    names = [item.slug if item.trains else f"[{item.slug}]" for item in found]
    width = max(map(len, names))
    return "\n".join(f"{indent}{name:{width}}  {item.title}" for name, item in zip(names, found, strict=True))
