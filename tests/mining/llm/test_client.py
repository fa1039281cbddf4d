"""The client of language models against a server that does what servers do."""

import json
import logging
import time

import pytest

from agent_market.errors import LanguageModelError
from agent_market.mining.llm.budget import AskingEndedError, Budget, BudgetSpentError
from agent_market.mining.llm.client import ChatClient, open_client
from agent_market.mining.llm.salvage import SCHEMA, read_answer
from agent_market.mining.llm.secret import Secret
from agent_market.mining.options import BudgetOptions, LLMOptions
from agent_market.testing.fake_openai import FakeOpenAI

KEY = "sk-very-secret-0123456789"
ASK = [{"role": "system", "content": "s"}, {"role": "user", "content": "Propose 3 formulas."}]


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def client(tmp_path, pauses):
    """Makes clients of a server; pauses are noted and not made."""

    def make(server: FakeOpenAI, *, key: str = KEY, **options) -> ChatClient:
        settings = {"base_url": server.url, "model": "fake", "timeout": 0.4, "cassettes": str(tmp_path / "kept")}
        return open_client(LLMOptions(**settings | options), Secret(key), sleep=pauses.append)

    return make


def _ask(client: ChatClient, seed: int = 1) -> str:
    return client.complete(ASK, SCHEMA, seed=seed)


def _ask_on(client: ChatClient) -> None:
    for seed in range(20):
        _ask(client, seed)


@pytest.mark.parametrize(
    ("script", "requests", "waits"),
    [
        (["good"], 1, []),
        (["429+2"], 2, [2.0]),
        (["500", "503"], 3, None),
        (["reset"], 2, None),
        (["cut"], 2, None),
        (["slow"], 2, None),
        (["drip"], 2, None),
        (["not_json"], 2, None),
        (["html"], 2, None),
        (["empty"], 2, None),
        (["deep"], 2, None),
        (["compressed"], 2, None),
        (["oversized"], 2, None),
        (["parts"], 1, []),
        (["fenced"], 1, []),
    ],
)
def test_what_passes_is_asked_again(client, pauses, script, requests, waits):
    with FakeOpenAI(script, key=KEY, pause=0.6) as server:
        asking = client(server, retry_seconds=0.6 if script == ["drip"] else 60.0)
        if script == ["drip"]:  # bytes that come, but too slowly: only the time that a request may take ends it
            with pytest.raises(LanguageModelError, match="comes too slowly"):
                _ask(asking)
            return
        text = _ask(asking)
        assert len(read_answer(text)) == 3
        assert len(server.requests) == requests
    if waits is not None:
        assert pauses == waits


def test_pauses_grow_and_attempts_end(client, pauses):
    with FakeOpenAI(["503"] * 9, key=KEY) as server:
        with pytest.raises(LanguageModelError, match=r"status 503 \(after 4 attempts at most\).*Is the server running"):
            _ask(client(server))
        assert len(server.requests) == 4
    assert pauses[0] < pauses[1] < pauses[2]


def test_a_pause_longer_than_there_is_time_is_not_made(client, pauses):
    with FakeOpenAI(["429+86400"], key=KEY) as server, pytest.raises(LanguageModelError, match="status 429"):
        _ask(client(server))
    assert pauses == []


@pytest.mark.parametrize("date", ["Wed, 21 Oct 2065 07:28:00 GMT", "nonsense", "-5", "1e400", "nan"])
def test_any_retry_after_is_survived(client, pauses, date):
    with FakeOpenAI([f"429+{date}"], key=KEY) as server:
        asking = client(server)
        if "2065" in date:
            with pytest.raises(LanguageModelError):
                _ask(asking)
        else:
            _ask(asking)
            assert 0 <= pauses[0] < 5


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (["400"], "refuses with status 400: .*try later"),
        (["404"], r"status 404.*ends in /v1"),
        (["redirect"], "refuses with status 307"),
    ],
)
def test_what_does_not_pass_is_an_error_at_once(client, script, message):
    with FakeOpenAI(script, key=KEY) as server:
        with pytest.raises(LanguageModelError, match=message):
            _ask(client(server))
        assert len(server.requests) == 1


def test_a_refused_key_is_not_shown_although_the_server_repeats_it(client):
    with FakeOpenAI(key="another") as server:
        with pytest.raises(LanguageModelError, match=r"status 401.*credentials\.yml") as error:
            _ask(client(server))
        assert len(server.requests) == 1
    assert KEY not in str(error.value)
    assert "[credential]" in str(error.value)


def test_a_server_that_is_not_there(client):
    with FakeOpenAI() as server:
        asking = client(server, attempts=2)
    with pytest.raises(LanguageModelError, match=r"ConnectError.*is mining\.llm\.base_url right"):
        _ask(asking)


@pytest.mark.parametrize(
    ("step", "kinds"),
    [("no_schema", ["json_schema", "json_object"]), ("no_format", ["json_schema", "json_object", None])],
)
def test_a_server_that_knows_no_schema_is_asked_more_plainly(client, step, kinds):
    with FakeOpenAI([step], key=KEY) as server:
        asking = client(server)
        _ask(asking)
        _ask(asking, seed=2)
        asked = [(request.body.get("response_format") or {}).get("type") for request in server.requests]
    assert asked == [*kinds, kinds[-1]]  # and remembers it


def test_parameters_that_a_model_refuses_are_left_out(client):
    with FakeOpenAI(["new_model"], key=KEY) as server:
        asking = client(server, max_tokens=77)
        _ask(asking)
        _ask(asking, seed=2)
        bodies = [request.body for request in server.requests]
    assert len(bodies) == 4
    assert [body.get("max_tokens") for body in bodies] == [77, None, None, None]
    assert [body.get("max_completion_tokens") for body in bodies] == [None, 77, 77, 77]
    assert ["temperature" in body for body in bodies] == [True, True, False, False]


def test_the_request_is_what_servers_expect(client):
    with FakeOpenAI(key=KEY) as server:
        _ask(client(server, temperature=0.5, max_tokens=77), seed=9)
        [request] = server.requests
    assert request.path == "/v1/chat/completions"
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.body["messages"] == ASK
    assert (request.body["model"], request.body["seed"]) == ("fake", 9)
    assert (request.body["temperature"], request.body["max_tokens"]) == (0.5, 77)
    assert request.body["response_format"]["json_schema"]["schema"] == SCHEMA


def test_a_local_server_needs_no_key_and_a_remote_one_does(client):
    with FakeOpenAI() as server:
        _ask(client(server, key=""))
        assert "authorization" not in server.requests[0].headers
    with pytest.raises(LanguageModelError, match=r"needs a key.*conf/local/credentials\.yml.*AGENT_MARKET_LLM_KEY"):
        open_client(LLMOptions(base_url="https://api.openai.com/v1"), Secret(""))


@pytest.mark.parametrize(
    "url",
    [
        "http://api.openai.com/v1",
        "https://me:pass@host/v1",
        "https://host/v1?api_key=1",
        "ftp://host",
        "localhost:1234",
    ],
)
def test_addresses_that_give_secrets_away_are_refused(url):
    with pytest.raises(ValueError, match=r"address|https"):
        LLMOptions(base_url=url)


# ---- cassettes


def test_a_recorded_answer_is_given_again_without_a_server_or_a_key(client, tmp_path):
    with FakeOpenAI(["429+1", "echo_key"], key=KEY) as server:
        first = client(server)
        text = _ask(first)
        again = _ask(client(server))
        assert len(server.requests) == 2
    replay = client(server, key="", mode="replay")
    assert text == again == _ask(replay)
    assert replay.budget.calls == first.budget.calls == 2
    assert replay.budget.tokens_out == first.budget.tokens_out > 0
    assert replay.log == first.log
    kept = "".join(path.read_text() for path in (tmp_path / "kept").iterdir())
    assert KEY not in kept
    assert KEY not in text
    assert "[credential]" in text


def test_live_asks_again_and_keeps_nothing(client, tmp_path):
    with FakeOpenAI(key=KEY) as server:
        for _ in range(2):
            _ask(client(server, mode="live"))
        assert len(server.requests) == 2
    assert not (tmp_path / "kept").exists()


def test_a_replay_of_what_was_not_recorded_is_an_error(client):
    with FakeOpenAI() as server, pytest.raises(LanguageModelError, match=r"mode=replay: no answer is kept in .*kept"):
        _ask(client(server, mode="replay"))


def test_how_asking_ended_is_replayed_too(client):
    with FakeOpenAI(["good", *["503"] * 9], key=KEY) as server:
        first = client(server, attempts=2)
        _ask(first)
        with pytest.raises(AskingEndedError) as ended:
            _ask(first, seed=2)
    replay = client(server, key="", mode="replay", attempts=2)
    _ask(replay)
    with pytest.raises(AskingEndedError) as again:
        _ask(replay, seed=2)
    assert str(ended.value) == str(again.value)
    assert replay.budget.calls == first.budget.calls


# ---- budgets


@pytest.mark.parametrize(
    ("limits", "answers", "message"),
    [
        ({"calls": 2}, 2, "budget.calls: 2 requests"),
        ({"tokens": 150}, 2, "budget.tokens"),
        ({"money": 0.0001, "price_in": 1.0, "price_out": 1.0}, 2, "budget.money"),
    ],
)
def test_a_budget_ends_the_asking(client, limits, answers, message):
    with FakeOpenAI(key=KEY) as server:
        asking = client(server, budget=BudgetOptions(**limits))
        with pytest.raises(AskingEndedError, match=message):
            _ask_on(asking)
        assert 1 <= len(server.requests) <= answers


def test_time_runs_from_the_first_request():
    now = [0.0]
    budget = Budget(BudgetOptions(seconds=10), clock=lambda: now[0])
    now[0] = 100.0
    budget.start()
    budget.check()
    now[0] = 111.0
    with pytest.raises(BudgetSpentError, match=r"budget\.seconds: 10 seconds are over"):
        budget.check()


def test_retries_count_as_requests(client):
    with FakeOpenAI(["503"] * 5, key=KEY) as server:
        with pytest.raises(AskingEndedError, match=r"budget\.calls"):
            _ask(client(server, attempts=10, budget=BudgetOptions(calls=3)))
        assert len(server.requests) == 3


def test_money_without_prices_is_refused():
    with pytest.raises(ValueError, match=r"budget\.money needs budget\.price_in"):
        BudgetOptions(money=1.0)


# ---- the key


def test_the_key_does_not_show_itself(client, caplog):
    secret = Secret(f" {KEY} ")
    assert secret.value == KEY
    assert KEY not in repr(secret) + str(secret) + f"{secret}"
    with pytest.raises(TypeError, match="not stored"):
        __import__("copy").deepcopy(secret)
    with pytest.raises(TypeError):
        json.dumps({"key": secret})
    with caplog.at_level(logging.DEBUG), FakeOpenAI(["503", "echo_key"], key=KEY) as server:
        asking = client(server)
        _ask(asking)
    assert KEY not in caplog.text
    assert KEY not in repr(asking)


def test_a_slow_answer_ends_in_bounded_time(client):
    with FakeOpenAI(["drip"] * 3, key=KEY, pause=0.5) as server:
        begun = time.monotonic()
        with pytest.raises(LanguageModelError):
            _ask(client(server, retry_seconds=1.0))
        assert time.monotonic() - begun < 3.0
