"""What several test files share, and the order: what takes a minute or more comes last."""

import importlib

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests marked `slow` last, so that a mistake shows in the first minutes; else the order stays."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)


@pytest.fixture
def trl_utils(monkeypatch):
    """TRL's module without any patch; afterwards as it was."""
    module, kernels = (
        importlib.import_module("trl.trainer.utils"),
        importlib.import_module("trl.kernels.chunked_logprob"),
    )
    monkeypatch.setattr(module, "_use_triton", kernels._use_triton)
    monkeypatch.setattr(module, "_ChunkedLogProbFunction", kernels.ChunkedLogProbFunction)
    return module
