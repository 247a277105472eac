import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from withstand.attacks.fast_passes.whole_rows import put, take

LAYOUTS = {
    "contiguous": torch.clone,
    "channels last": lambda x: x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x,
    "turned": lambda x: x.transpose(1, -1).contiguous().transpose(1, -1) if x.dim() > 2 else x,
    "every second": lambda x: x.repeat_interleave(2, 0)[::2],
    "spread": lambda x: x[:, :1].expand_as(x) if x.dim() > 1 else x,
}


@settings(deadline=None)
@given(
    st.sampled_from([(5,), (5, 3), (4, 2, 3, 5), (4, 1, 3, 3), (3, 2, 1, 1), (3, 4, 2), (2, 0)]),
    st.sampled_from(sorted(LAYOUTS)),
    st.sampled_from(sorted(LAYOUTS)),
    st.randoms(use_true_random=False),
)
def test_rows_are_taken_and_put_as_indexing_does(shape, layout, other, draws):
    x = LAYOUTS[layout](torch.arange(float(torch.Size(shape).numel())).view(shape))
    rows = torch.tensor([draws.randrange(shape[0]) for _ in range(draws.randrange(7))], dtype=torch.int64)
    found = take(x, rows)
    assert torch.equal(found, x[rows])
    if layout == "channels last" and len(rows):
        assert found.is_contiguous(memory_format=torch.channels_last) or x.dim() != 4
    once = torch.tensor(draws.sample(range(shape[0]), draws.randrange(shape[0] + 1)), dtype=torch.int64)
    values = LAYOUTS[other](-1 - torch.rand(len(once), *shape[1:])) if len(once) else torch.empty(0, *shape[1:])
    mine, wanted = x.clone(), x.clone()
    put(mine, once, values)
    wanted[once] = values
    assert torch.equal(mine, wanted)
