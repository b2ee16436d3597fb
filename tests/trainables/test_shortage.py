"""What says that memory has run out, and what does not."""

import numpy as np
import pytest
import torch

from trainables.errors import InputError
from trainables.shortage import is_out_of_memory


def raised(action):
    try:
        action()
    except Exception as error:  # noqa: BLE001
        return error
    pytest.fail("raises nothing")


def wrapped():
    try:
        raise MemoryError
    except MemoryError as error:
        raise InputError("the model cannot be built", key="model", fix="…") from error


@pytest.mark.parametrize(("error", "expected"), [
    (raised(lambda: torch.empty(1 << 50)), True),  # the CPU's allocator
    (raised(lambda: np.empty(1 << 50)), True),
    (raised(lambda: bytearray(1 << 60)), True),
    (raised(wrapped), True),                       # what a user's model raised, in our words
    (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), True),
    (RuntimeError("CUDA error: out of memory"), True),
    (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), True),
    (OSError(12, "Cannot allocate memory"), True),
    (OSError(28, "No space left on device"), False),  # another kind of full
    (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
    (ValueError("out of memory"), False),          # torch raises no such thing: a user's own
])
def test_what_says_that_memory_ran_out(error, expected):
    assert is_out_of_memory(error) is expected
