"""Every test of this room has its own empty cache folder, and no compact files unless it names them."""

import pytest


@pytest.fixture(autouse=True)
def cache_home(tmp_path, monkeypatch):
    home = tmp_path / "cache-home"
    monkeypatch.setenv("XDG_CACHE_HOME", str(home))
    return home


@pytest.fixture
def no_compact(monkeypatch):
    monkeypatch.delenv("WITHSTAND_DATA", raising=False)
