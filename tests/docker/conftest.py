"""What the tests in containers share."""

import gc

import pytest


@pytest.fixture(scope="module", autouse=True)
def no_sockets_left():
    """Collects the sockets that Docker's client leaves open while their warnings are ignored, not when pytest ends."""
    yield
    gc.collect()
