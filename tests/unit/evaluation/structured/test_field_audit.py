"""One rewritten field against trying every one by hand; recall in the report is no accuracy."""

import torch

from withstand.core.findings.finding import Finding, Measure
from withstand.core.random import permutation
from withstand.evaluation.structured.field_audit import ROUNDING, FieldAudit
from withstand.losses.precision import unit_rows
from withstand.methods.items.item_ssl import ItemSSL
from withstand.report.scores import score


def test_the_worst_rewriting_by_hand() -> None:
    torch.manual_seed(0)
    method = ItemSSL.example().eval()
    catalogue = method.catalogue
    found = FieldAudit(samples=10, k=2).evaluate(method, catalogue)
    taken = {tuple(pair) for pair in catalogue.pairs["train"].tolist()}
    with torch.no_grad():
        users = unit_rows(method.query(torch.arange(8)[:, None]))
        cosines = users @ method.item_embeddings().T
    bars = []
    for user in range(8):
        free = sorted((float(cosines[user, item]) for item in range(10) if (user, item) not in taken), reverse=True)
        bars.append(free[1] - ROUNDING)

    def shown(codes: torch.Tensor, item: int) -> float:
        with torch.no_grad():
            values = users @ unit_rows(method.encoder(codes[None]))[0]
        return sum(float(values[u]) >= bars[u] and (u, item) not in taken for u in range(8)) / 8

    before, after = [], []
    for item in permutation(10, 0, "audited items")[:10].tolist():
        own = catalogue.codes[item]
        reach = [shown(own, item)]
        before.append(reach[0])
        for field in catalogue.columns[1:]:
            for value in range(len(field.values)):
                changed = own.clone()
                columns = list(catalogue.fields[field.name])
                changed[columns] = -1
                changed[columns[0]] = value
                reach.append(shown(changed, item))
        after.append(max(reach))
    numbers = found.numbers
    assert abs(numbers["users who are shown an item"] - sum(before) / 10) < 1e-6
    assert abs(numbers["users who are shown it, one field rewritten"] - sum(after) / 10) < 1e-6
    assert found.checks[0].passed is True


def test_a_share_that_is_no_accuracy_is_not_called_one() -> None:
    recall = Finding("ranking", {"recall at 20": Measure(0.2, "share", "higher")}, headline="recall at 20")
    named = score(recall)
    assert named is not None
    assert named.what == "recall at 20"
    probe = score(Finding("knn", {"accuracy": Measure(0.2, "share", "higher")}, headline="accuracy"))
    assert probe is not None
    assert probe.what == "accuracy"
