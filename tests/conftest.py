"""What all tests share."""

import gc

import pytest


def pytest_collection_finish(session: pytest.Session) -> None:
    """Keep the garbage collector from walking all that was imported, again and again.

    Elaborating a design makes so many objects that it took a third of the time.
    """
    gc.freeze()
    gc.set_threshold(100_000)
