"""When memory has run out, whoever says so."""

import errno

import torch

_TOLD = ("can't allocate memory", "not enough memory", "out of memory", "bad allocation",
         "std::bad_alloc", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception, or one that caused it, says that memory ran out: torch's on any device,
    Python's and NumPy's ``MemoryError``."""
    seen: BaseException | None = error
    while seen is not None:
        if (isinstance(seen, MemoryError | torch.OutOfMemoryError)
                or (isinstance(seen, OSError) and seen.errno == errno.ENOMEM)
                or (isinstance(seen, RuntimeError) and any(t in str(seen) for t in _TOLD))):
            return True
        seen = seen.__cause__
    return False
