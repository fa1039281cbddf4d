"""Asks an OpenAI-compatible endpoint: OpenAI, DeepSeek, Ollama, vLLM, llama.cpp, LM Studio.

One request at a time, without redirects. What may pass (429, 5xx, cut or slow connections, answers that are no JSON) is
tried again with growing pauses, or after what `Retry-After` asks for; what will not pass (400, 401, 403) is an error.
Answers are read up to a limit and as plain text only. Kept answers take the place of requests where they may.
"""

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from agent_market.errors import LanguageModelError
from agent_market.mining.llm.budget import AskingEndedError, Budget
from agent_market.mining.llm.cassettes import Cassettes
from agent_market.mining.llm.secret import Secret
from agent_market.mining.options import LLMOptions, is_local

LADDER = ("json_schema", "json_object", "text")
"""How JSON is asked for, strictest first; a server that does not know one is asked the next way."""

OPTIONAL = ("max_tokens", "temperature", "seed")
"""Parameters that some models refuse; newer ones take `max_completion_tokens` in place of the first."""

AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529})
"""Statuses that may be others the next time."""

VARIABLE = "AGENT_MARKET_LLM_KEY"
"""The environment variable of the key; conf/local/credentials.yml, `llm: {api_key: …}`, is the other place."""


class TransientError(Exception):
    """Something that may pass; `after` is how many seconds the server asks to wait."""

    def __init__(self, message: str, after: float | None = None) -> None:
        super().__init__(message)
        self.after = after


@dataclass
class ChatClient:
    """Answers to messages, from kept answers or from the server; `log` has one entry per answer."""

    options: LLMOptions
    secret: Secret
    cassettes: Cassettes
    http: httpx.Client
    budget: Budget
    sleep: Callable[[float], None] = time.sleep
    rung: int = 0
    left_out: set[str] = field(default_factory=set)
    log: list[dict[str, Any]] = field(default_factory=list)

    def complete(self, messages: list[dict[str, str]], schema: dict[str, Any], *, seed: int) -> str:
        """The text of the answer.

        Raises:
            AskingEndedError: A budget is spent, or the server failed after it had answered before.
            LanguageModelError: The server refuses, or cannot be reached at all; or, in replay, nothing was kept.
        """
        options = self.options
        asked = {"messages": messages, "model": options.model, "seed": seed}
        asked |= {"temperature": options.temperature, "max_tokens": options.max_tokens}
        key = self.cassettes.key(asked)
        kept = self.cassettes.load(key) if options.mode != "live" else None
        if kept is not None and ("text" in kept or options.mode == "replay"):
            return self._replayed(kept)
        if options.mode == "replay":
            raise LanguageModelError(
                f"mining.llm.mode=replay: no answer is kept in {self.cassettes.folder} for the request {key} to "
                f"{options.model}. Candles, parameters or prompts differ from those recorded: record again with "
                "mining.llm.mode=record"
            )
        before = (self.budget.calls, self.budget.tokens_in, self.budget.tokens_out)
        try:
            text, finish = self._ask(asked, schema)
        except AskingEndedError as error:
            ended = {"end": self.secret.scrubbed(str(error))} | self._spent_since(before)
            if options.mode == "record":
                self.cassettes.keep(key, {**asked, **ended})
            raise AskingEndedError(ended["end"]) from None
        answer = {"text": text, "finish_reason": finish} | self._spent_since(before)
        if options.mode == "record":
            self.cassettes.keep(key, {**asked, **answer})
        self._note(answer)
        return text

    def _replayed(self, kept: dict[str, Any]) -> str:
        self.budget.spend(**{name: int(kept.get(name, 0)) for name in ("calls", "tokens_in", "tokens_out")})
        if "text" not in kept:
            raise AskingEndedError(kept["end"])
        self._note(kept)
        return kept["text"]

    def _note(self, answer: dict[str, Any]) -> None:
        names = ("finish_reason", "calls", "tokens_in", "tokens_out")
        self.log.append({name: answer.get(name) for name in names} | {"characters": len(answer["text"])})

    def _spent_since(self, before: tuple[int, int, int]) -> dict[str, int]:
        now = (self.budget.calls, self.budget.tokens_in, self.budget.tokens_out)
        return dict(
            zip(("calls", "tokens_in", "tokens_out"), (n - b for n, b in zip(now, before, strict=True)), strict=True)
        )

    # ---- asking

    def _ask(self, asked: dict[str, Any], schema: dict[str, Any]) -> tuple[str, str]:
        """Text and finish reason; tries again what may pass, within attempts, seconds and budget."""
        self.budget.start()
        begun = self.budget.clock()
        until = begun + self.options.retry_seconds
        retrying = Retrying(
            retry=retry_if_exception_type(TransientError),
            stop=self._stop(until),
            wait=_wait,
            sleep=self.sleep,
            reraise=True,
        )
        try:
            return retrying(self._once, asked, schema, until)
        except TransientError as error:
            problem = (
                f"{self.options.base_url} does not answer: {error} (after {self.options.attempts} attempts at most)"
            )
            if self.log:
                raise AskingEndedError(problem) from None
            raise LanguageModelError(
                f"mining.llm: {self.secret.scrubbed(problem)}. Is the server running, and is mining.llm.base_url right?"
            ) from None

    def _stop(self, until: float) -> Callable[[RetryCallState], bool]:
        enough = stop_after_attempt(self.options.attempts)

        def stop(state: RetryCallState) -> bool:
            return enough(state) or self.budget.clock() + (state.upcoming_sleep or 0.0) > until

        return stop

    def _once(self, asked: dict[str, Any], schema: dict[str, Any], until: float) -> tuple[str, str]:
        while True:
            self.budget.check()
            self.budget.spend(calls=1)
            status, headers, raw = self._post(self._spoken(asked | self._format(schema)), until)
            if status in AGAIN:
                raise TransientError(f"status {status}", _retry_after(headers.get("retry-after")))
            if status == 200:
                return self._content(raw)
            said = self.secret.scrubbed(raw[:300].decode("utf-8", "replace"))
            if status in (400, 422) and (self._steps_down(said) or self._leaves_out(said)):
                continue
            raise LanguageModelError(
                f"mining.llm: {self.options.base_url} refuses with status {status}: {_plain(said)}{_hint(status)}"
            )

    def _format(self, schema: dict[str, Any]) -> dict[str, Any]:
        kind = LADDER[self.rung]
        if kind == "json_schema":
            named = {"name": "factors", "schema": schema, "strict": False}
            return {"response_format": {"type": "json_schema", "json_schema": named}}
        return {"response_format": {"type": "json_object"}} if kind == "json_object" else {}

    def _steps_down(self, said: str) -> bool:
        """Whether the server only dislikes how JSON was asked for, and there is a plainer way."""
        about_format = re.search(r"response_format|json_schema|json_object|json mode|structured", said, re.IGNORECASE)
        if not about_format or self.options.structured != "auto" or self.rung + 1 >= len(LADDER):
            return False
        self.rung += 1
        return True

    def _leaves_out(self, said: str) -> bool:
        """Whether the server only dislikes a parameter that not all models take, which is left out from now on."""
        dislikes = re.search(r"support|unknown|unrecogni[sz]ed|not permitted|not allowed", said, re.IGNORECASE)
        named = [name for name in OPTIONAL if name in said and name not in self.left_out]
        if not dislikes or not named:
            return False
        self.left_out.add(named[0])
        return True

    def _spoken(self, body: dict[str, Any]) -> dict[str, Any]:
        """A request in the words that the server takes."""
        if "max_tokens" in self.left_out:
            body["max_completion_tokens"] = body.pop("max_tokens")
        return {name: value for name, value in body.items() if name not in self.left_out}

    def _post(self, body: dict[str, Any], until: float) -> tuple[int, httpx.Headers, bytes]:
        """Status, headers and body of the answer; the body is read up to the limit and while there is time."""
        headers = {"Accept-Encoding": "identity"}
        if self.secret:
            headers["Authorization"] = f"Bearer {self.secret.value}"
        deadline = min(until, self.budget.clock() + self.budget.seconds_left)
        url = f"{self.options.base_url}/chat/completions"
        try:
            with self.http.stream("POST", url, json=body, headers=headers) as response:
                if response.headers.get("content-encoding", "identity") != "identity":
                    raise TransientError("the answer is compressed, which was not asked for")
                raw = bytearray()
                for chunk in response.iter_raw():
                    raw += chunk
                    if len(raw) > self.options.max_bytes:
                        raise TransientError(f"the answer is longer than mining.llm.max_bytes={self.options.max_bytes}")
                    if self.budget.clock() > deadline:
                        raise TransientError("the answer comes too slowly")
                return response.status_code, response.headers, bytes(raw)
        except (httpx.TransportError, httpx.InvalidURL, httpx.DecodingError) as error:
            raise TransientError(f"{type(error).__name__}: {error}") from None

    def _content(self, raw: bytes) -> tuple[str, str]:
        """Text and finish reason of a good answer, its tokens counted; a credential that is echoed is taken out."""
        try:
            reply = json.loads(self.secret.scrubbed(raw.decode("utf-8", "replace")))
            choice = reply["choices"][0]
            content = choice["message"]["content"]
        except (ValueError, RecursionError, LookupError, TypeError):
            raise TransientError("the answer is not a chat completion") from None
        usage = reply.get("usage") if isinstance(reply.get("usage"), dict) else {}
        if isinstance(content, list):  # some servers answer in parts
            content = "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
        if not isinstance(content, str) or not content.strip():
            raise TransientError("the answer is empty")
        size = len(content) // 4
        self.budget.spend(
            tokens_in=_count(usage.get("prompt_tokens"), 0), tokens_out=_count(usage.get("completion_tokens"), size)
        )
        return content, str(choice.get("finish_reason"))[:20]


def open_client(
    options: LLMOptions, secret: Secret, *, clock: Callable[[], float] = time.monotonic, sleep: Callable = time.sleep
) -> ChatClient:
    """A client as the options say.

    Raises:
        LanguageModelError: The endpoint is not on this machine, and there is no key.
    """
    if options.mode != "replay" and not secret and not is_local(options.base_url):
        raise LanguageModelError(
            f"mining.llm: {options.base_url} needs a key. Write `llm: {{api_key: …}}` into "
            f"conf/local/credentials.yml, which git ignores, or set the environment variable {VARIABLE}; never write "
            "it into parameters. Without one: mining.arms.llm=0, or mining.llm.mode=replay"
        )
    http = httpx.Client(
        timeout=options.timeout, follow_redirects=False, trust_env=not is_local(options.base_url)
    )  # trust_env: proxies and certificates of the environment
    rung = 0 if options.structured == "auto" else LADDER.index(options.structured)
    budget = Budget(options.budget, clock)
    return ChatClient(options, secret, Cassettes(Path(options.cassettes)), http, budget, sleep, rung)


_GROWING = wait_exponential_jitter(initial=1.0, max=30.0)


def _wait(state: RetryCallState) -> float:
    """What the server asks for, else growing pauses."""
    error = state.outcome.exception() if state.outcome else None
    asked = getattr(error, "after", None)
    return asked if asked is not None else _GROWING(state)


def _retry_after(value: str | None) -> float | None:
    """Seconds that `Retry-After` asks for, given as such or as a date; None for none or nonsense."""
    if not value:
        return None
    if re.fullmatch(r"\d{1,9}(\.\d{1,3})?", value.strip()):
        return float(value)
    try:
        date = parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return None
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max(0.0, (date - datetime.now(UTC)).total_seconds())


def _count(value: Any, otherwise: int) -> int:
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 10**9
    return value if is_count else otherwise


def _plain(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split()) or "no reason given"


def _hint(status: int) -> str:
    if status in (401, 403):
        return f". Check the key: conf/local/credentials.yml, `llm: {{api_key: …}}`, or the variable {VARIABLE}"
    if status == 404:
        return ". Check mining.llm.base_url, which ends in /v1 for most servers, and mining.llm.model"
    return ". Check mining.llm.base_url" if 300 <= status < 400 else ""
