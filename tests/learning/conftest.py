import pytest


@pytest.fixture
def descent():
    """The adapter `toys.descent`, with an empty memory."""
    from toys import descent

    descent.CALLS.clear()
    descent.BREAK_IN.clear()
    yield descent
    descent.CALLS.clear()
    descent.BREAK_IN.clear()
