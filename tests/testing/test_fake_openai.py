"""The server for trying language models without one, as it is started from a shell."""

import json
import subprocess
import sys

import httpx

from agent_market.factors import check
from agent_market.testing.fake_openai import FakeOpenAI, factors
from agent_market.testing.hostile import hostile_reply

BODY = {"model": "m", "seed": 1, "messages": [{"role": "user", "content": "Propose 6 formulas."}]}


def test_it_serves_a_script_from_the_command_line():
    command = [sys.executable, "-m", "agent_market.testing.fake_openai", "--port", "0", "--script", "429+3,good"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        url = server.stdout.readline().strip().removeprefix("mining.llm.base_url=")
        first = httpx.post(f"{url}/chat/completions", json=BODY)
        second = httpx.post(f"{url}/chat/completions", json=BODY)
    finally:
        server.terminate()
        server.wait(10)
    assert (first.status_code, first.headers["retry-after"]) == (429, "3")
    assert second.json()["choices"][0]["message"]["content"] == factors(BODY)


def test_good_answers_can_be_read_and_follow_the_seed():
    items = json.loads(factors(BODY))["expressions"]
    assert len(items) == 6
    for item in items:
        check(item["expression"], strict=True)
    assert factors(BODY) == factors(BODY) != factors(BODY | {"seed": 2})


def test_a_wrong_key_is_refused():
    with FakeOpenAI(key="right") as server:
        answer = httpx.post(f"{server.url}/chat/completions", json=BODY, headers={"Authorization": "Bearer wrong"})
    assert answer.status_code == 401


def test_hostile_replies_repeat():
    assert [hostile_reply(number) for number in range(20)] == [hostile_reply(number) for number in range(20)]
