"""Calibrations of one test session stay in a folder of its own."""

import pytest


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def no_report(monkeypatch):
    """The analysis, which takes seconds, replaced by a stand-in."""
    from types import SimpleNamespace

    import analysis.report

    monkeypatch.setattr(analysis.report, "write", lambda folder, _: SimpleNamespace(
        path=folder.at("report.html"), verdict="no verdict",
        lines=["no verdict", f"report: {folder.at('report.html')}"]))
