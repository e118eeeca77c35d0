"""Fixtures for all tests."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of shared data; tests that need it are skipped where it is absent."""
    beside = Path(__file__).resolve().parents[2] / "shared"
    folder = Path(os.environ.get("DIFFXAS_SHARED", beside)) / "data"
    if not folder.is_dir():
        pytest.skip(f"needs the shared data, which are not in {folder} (set DIFFXAS_SHARED)")
    return folder
