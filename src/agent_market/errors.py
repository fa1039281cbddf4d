"""The errors a user can cause, and mend: each message says what was wrong, where, and what to do."""


class AgentMarketError(Exception):
    """Base of all errors that are the input's fault; the command line shows them without a traceback."""


class ParameterError(AgentMarketError):
    """A parameter is unknown, has a wrong value, or does not fit the data."""


class DataError(AgentMarketError):
    """Candles, files or tables are missing or do not have the shape they must have."""


class FactorError(AgentMarketError):
    """A factor expression cannot be read, looks into the future, or gives no values."""


class ModelError(AgentMarketError):
    """A model cannot be found, fitted, stored, or does not fit the data it is asked about."""


class LanguageModelError(AgentMarketError):
    """A language model cannot be asked, or does not answer as it should."""


class FlowError(AgentMarketError):
    """A task file, a run or a step of the agent flow is not as it must be, or did not come to its end."""


class BusyError(AgentMarketError):
    """Another run holds the data."""


class ComputeError(AgentMarketError):
    """A cluster cannot be reached, has no workers, or workers whose numbers would be others."""
