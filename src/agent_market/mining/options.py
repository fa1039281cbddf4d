"""The parameters under `mining`."""

from pathlib import PurePosixPath
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from agent_market.options import Options


class SegmentOptions(Options):
    """How the dates are cut: what is left behind search and gate is the vault."""

    search: float = Field(0.6, gt=0, lt=1, description="first part of the dates, on which factors are searched")
    gate: float = Field(0.2, gt=0, lt=1, description="part of the dates after it, on which nominees are tested once")

    @model_validator(mode="after")
    def _leaves_a_vault(self) -> "SegmentOptions":
        if self.search + self.gate > 0.95:
            raise ValueError(
                f"segments.search + segments.gate is {self.search + self.gate:g}; leave 0.05 or more for the vault"
            )
        return self


class ArmOptions(Options):
    """How many factors each proposer may try: distinct ones, evaluated on the search segment."""

    genetic: int = Field(400, ge=0, le=20_000, description="trials of the genetic search")
    zoo: int = Field(40, ge=0, le=2_000, description="trials out of the known sets")
    llm: int = Field(0, ge=0, le=5_000, description="trials of the language model; as many of a control arm are added")

    @model_validator(mode="after")
    def _somebody_proposes(self) -> "ArmOptions":
        if not (self.genetic or self.zoo or self.llm):
            raise ValueError("all arms are 0: nobody proposes anything; set mining.arms.genetic=300")
        return self


class GeneticOptions(Options):
    """The genetic search."""

    population: int = Field(60, ge=4, le=2_000, description="factors that live at a time")
    elite: int = Field(4, ge=0, description="best factors that live on as they are")
    tournament: int = Field(4, ge=1, description="factors among which the best becomes a parent")
    crossover: float = Field(0.5, ge=0, le=1, description="share of children with two parents")
    mutation: float = Field(0.7, ge=0, le=1, description="share of children that are changed")
    parsimony: float = Field(0.03, ge=0, description="t value that each part of an expression must be worth")
    windows: tuple[int, ...] = Field((3, 6, 12, 24, 48, 72, 168), min_length=1, description="windows, candles")
    lags: tuple[int, ...] = Field((1, 2, 3, 6, 12, 24), min_length=1, description="lags, candles")

    @field_validator("windows", "lags")
    @classmethod
    def _are_windows(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if min(value) < 1 or max(value) > 1000:
            raise ValueError(f"windows and lags are 1 to 1000 candles, found {list(value)}")
        return value

    @model_validator(mode="after")
    def _elite_is_a_part(self) -> "GeneticOptions":
        if self.elite >= self.population:
            raise ValueError(f"genetic.elite is {self.elite}; it must be below genetic.population={self.population}")
        return self


class BudgetOptions(Options):
    """What a run may spend on the language model; each run out ends it gracefully."""

    calls: int = Field(20, ge=1, description="requests that are sent, retries included")
    tokens: int = Field(200_000, ge=1, description="tokens in and out, as the server counts them")
    seconds: float = Field(600.0, gt=0, description="seconds from the first request to the last answer")
    money: float | None = Field(None, ge=0, description="in the currency of the prices; none = not counted")
    price_in: float = Field(0.0, ge=0, description="price of a million tokens of prompts")
    price_out: float = Field(0.0, ge=0, description="price of a million tokens of answers")

    @model_validator(mode="after")
    def _money_needs_prices(self) -> "BudgetOptions":
        if self.money is not None and not (self.price_in or self.price_out):
            raise ValueError("budget.money needs budget.price_in and budget.price_out, per million tokens")
        return self


class LLMOptions(Options):
    """Which language model is asked, and how. Its key is a credential, never a parameter (docs/mining.md)."""

    base_url: str = Field("http://localhost:11434/v1", description="an OpenAI-compatible endpoint, up to /v1")
    model: str = Field("qwen3", min_length=1, description="name of the model on that endpoint")
    mode: Literal["live", "record", "replay"] = Field(
        "record",
        description="live: ask; record: ask and keep the answers, or take those kept; replay: kept answers only",
    )
    cassettes: str = Field("data/01_raw/llm", description="folder of kept answers")
    structured: Literal["auto", "json_schema", "json_object", "text"] = Field(
        "auto", description="how an answer is asked for in JSON; auto: the strictest way that the server knows"
    )
    per_call: int = Field(8, ge=1, le=64, description="factors asked for in one request")
    repair: bool = Field(True, description="send each answer's unreadable factors back once, with the parser's error")
    temperature: float = Field(0.8, ge=0, le=2)
    max_tokens: int = Field(2000, ge=16, description="longest answer")
    timeout: float = Field(120.0, gt=0, description="seconds without a byte after which a request is given up")
    attempts: int = Field(4, ge=1, le=20, description="times that one request is sent at most")
    retry_seconds: float = Field(180.0, gt=0, description="seconds that one request and its retries may take")
    max_bytes: int = Field(2_000_000, ge=1_000, description="longest answer that is read")
    budget: BudgetOptions = BudgetOptions()

    @model_validator(mode="before")
    @classmethod
    def _holds_no_key(cls, block: object) -> object:
        if isinstance(block, dict) and any("key" in str(name).lower() for name in block):
            raise ValueError(
                "a key is a credential, and parameters are stored and shown: write `llm: {api_key: …}` into "
                "conf/local/credentials.yml, or set the variable AGENT_MARKET_LLM_KEY"
            )
        return block

    @field_validator("base_url")
    @classmethod
    def _is_safe(cls, value: str) -> str:
        url = urlsplit(value)
        if url.username or url.password or url.query or url.fragment:
            raise ValueError("an address with a name, a password or a query may hold a secret; give the plain address")
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ValueError("an address such as https://api.openai.com/v1 is expected")
        if url.scheme == "http" and not is_local(value):
            raise ValueError("prompts and keys travel unencrypted over http; use https, or a server on this machine")
        return value.rstrip("/")

    @field_validator("cassettes")
    @classmethod
    def _is_a_folder(cls, value: str) -> str:
        if not PurePosixPath(value).name:
            raise ValueError(f"a folder is expected, got {value!r}")
        return value


def is_local(url: str) -> bool:
    """Whether an address is this machine's own."""
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")


class GateOptions(Options):
    """What a factor must show before it enters the library."""

    q: float = Field(0.1, gt=0, lt=1, description="share of accepted factors that may be false, over all rounds")
    nominate_t: float = Field(
        2.0, ge=0, description="|t| on the search segment below which nothing is seen in a factor"
    )
    search_t: float = Field(
        3.0, ge=0, description="|t| on the search segment from which a factor is tested; many trials raise it"
    )
    max_nominees: int = Field(20, ge=1, le=200, description="factors tested per round")
    max_cluster: float = Field(
        0.5, gt=0, le=1, description="|correlation| of daily gains from which factors are one idea; the best is tested"
    )
    max_library: float = Field(0.7, gt=0, le=1, description="|rank correlation| with a factor of the library")
    min_coverage: float = Field(0.8, gt=0, le=1, description="share of dates at which the factor says something")
    min_blocks: int = Field(60, ge=10, description="blocks of the gate segment that there must be")
    max_turnover: float = Field(1.0, gt=0, description="share of the portfolio that is exchanged per candle")
    min_break_even: float = Field(
        0.0,
        ge=0,
        description="costs per side that the factor's own portfolio must bear on the search segment, fraction",
    )
    min_thirds: int = Field(2, ge=0, le=3, description="thirds of the search segment with the sign of the whole")
    min_pairs: float = Field(0.5, ge=0, le=1, description="share of pairs with the sign of the whole")
    max_parts: int = Field(40, ge=3, description="fields, numbers and operators of an expression")
    max_look_back: int = Field(1_000, ge=1, description="candles that a factor may look back")


class MiningOptions(Options):
    """The parameters under `mining`."""

    horizon: int = Field(12, ge=1, description="candles over which a factor must foretell returns")
    seed: int = Field(7, ge=0, description="same seed, data, library, feedback and ledger: same factors")
    cross_section: int = Field(
        5, ge=3, description="pairs from which a factor is judged across pairs at each date; below, by pair over time"
    )
    rank_window: int = Field(500, ge=20, le=1000, description="candles of the rank over time, for few pairs")
    segments: SegmentOptions = SegmentOptions()
    arms: ArmOptions = ArmOptions()
    genetic: GeneticOptions = GeneticOptions()
    zoo: tuple[str, ...] = Field(("basic",), min_length=1, description="packaged sets or files of the zoo")
    llm: LLMOptions = LLMOptions()
    gate: GateOptions = GateOptions()
    feedback: str | None = Field(
        None, description="file of an earlier run: mining_feedback.json, feedback.json or latest_backtest_summary.json"
    )

    @property
    def block(self) -> int:
        """Candles of the blocks that stand for one observation each: a day of hours, or twice the horizon."""
        return max(24, 2 * self.horizon)
