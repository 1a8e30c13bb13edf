"""What the tests have to know of the joblibs that are supported."""

import pytest
from joblib.parallel import ParallelBackendBase

SUBMIT = "submit" if hasattr(ParallelBackendBase, "submit") else "apply_async"
"""The method of a backend that takes a task; joblib 1.5 gave it another name."""

worker_settings = pytest.mark.skipif(
    SUBMIT != "submit", reason="before 1.5, joblib has no settings for loky's workers"
)
