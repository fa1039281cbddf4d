"""Errors that the user can mend, in words."""

import re

from kedro.io import DatasetError
from kedro.validation.exceptions import ParameterValidationError

from agent_market.errors import AgentMarketError

USER_ERRORS = (AgentMarketError, DatasetError, ParameterValidationError)


def in_words(error: BaseException) -> str:
    """What an error says; Kedro's words for a dataset that no run has stored yet are put plainly."""
    error = _what_the_user_did(error)
    missing = re.match(r"([\w.]+): Did not find any versions for", str(error))
    if missing is None:
        return str(error)
    return (
        f"{missing[1]} is not stored yet: run the pipeline that makes it first, or together with this one, as in "
        "`kedro run --pipelines data_engineering,factor_mining` (README.md lists what each pipeline makes)"
    )


def _what_the_user_did(error: BaseException) -> BaseException:
    """The error behind one that Kedro wrapped: features are computed, and may be refused, while they are saved."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, AgentMarketError):
            return cause
        cause = cause.__cause__
    return error
