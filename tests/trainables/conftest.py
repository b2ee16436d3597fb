"""One thread, as a worker has: the tests are small, and threads that wait for cores are slow."""

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Restored at the end, for other rooms' tests."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
