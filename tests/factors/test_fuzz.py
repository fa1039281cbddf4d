"""Ten thousand texts that nobody would write: each is read or refused with a FactorError, soon and in bounded space."""

import builtins
import gc
import random
import subprocess
import time
import tracemalloc

import pytest

from agent_market.errors import FactorError
from agent_market.factors import canonical, check, look_back
from agent_market.factors.macros import FEATURES, MACROS
from agent_market.factors.operators import ALIASES, FIELDS, OPERATORS

LONGEST = 0.05  # seconds of processor time

ATTACKS = [
    "__import__('os').system('touch /tmp/owned')",
    "().__class__.__base__.__subclasses__()",
    "close.__class__",
    "close.shift(-5)/close-1",
    "shift(close,-5)/close-1",
    "Ref($close,-2)/Ref($close,-1)-1",
    "delta(close,-12)",
    "9**9**9**9",
    "9^9^9^9 * close",
    "(" * 200 + "close" + ")" * 200,
    "|" * 299,
    "||" * 149 + "close" + "||" * 149,
    "close[0]",
    "lambda: 1",
    "exec('1')",
    "eval(close)",
    "roll_mean(close,0)",
    "roll_mean(close,10**9)",
    "ts_mean(close, volume)",
    "close if open else high",
    "f'{close}'",
    "mean(close,1e308)",
    "nan(close)",
    "abs(abs(abs(1)))",
    "pct_change(close, 0-5)",
    "delay(close, -(-5))",
    "ts_mean(shift(close,-3)+0,5)",
    "x" * 700,
    "rsi(" * 40 + "close" + ",14)" * 40,
    "tema(" * 30 + "close" + ",2)" * 30,
    "@" * 300,
    "@a@b",
    "$$$close",
    "1d" * 100,
    "ema(close, window=window=5)",
    "ema(close, " + ", ".join(f"k{i}=1" for i in range(80)) + ")",
    "feat_rsi_00000000000000014",
    "adv99999999",
    "1e400 * close",
    "close / 1e-400",
    "{close}",
    "{0.__class__}",
    "%s" * 100,
    "\x00" * 100,
    "\ud800",
    "𝐜𝐥𝐨𝐬𝐞",
    "close" * 100,
    "-" * 299,
    "?" * 299,
    "close?close:" * 60 + "close",
    "=" * 200,
    "," * 200,
    ")" * 200,
]


@pytest.fixture(autouse=True)
def nothing_is_run(monkeypatch):
    def forbidden(*arguments, **options):
        raise AssertionError("an expression was given to Python")

    import agent_market.factors.expression as module  # loaded before the traps are set

    assert module
    for name in ("eval", "exec"):
        monkeypatch.setattr(builtins, name, forbidden)
    monkeypatch.setattr(subprocess, "Popen", forbidden)


def accepted(text: str) -> bool:
    """Whether the text is an expression; its canonical form must then read back, and all else be a FactorError."""
    message = ""
    try:
        form = canonical(text)
    except FactorError as error:
        message = str(error)
    if message:
        assert len(message) < 1000
        return False
    assert canonical(form) == form
    assert look_back(form) >= 1
    return True


def timed(text: str) -> tuple[bool, float]:
    """Whether the text is accepted, and after how many seconds of processor time."""
    gc.disable()  # a collection of the whole test run is no time of the parser
    try:
        start = time.process_time()
        found = accepted(text)
        return found, time.process_time() - start
    finally:
        gc.enable()


@pytest.mark.parametrize("text", ATTACKS, ids=range(len(ATTACKS)))
def test_an_attack_is_refused(text):
    found, seconds = timed(text)
    assert not found
    assert seconds < LONGEST


# ---- ten thousand

NAMES = [*OPERATORS, *(name for name, _ in ALIASES), *(name for name, _ in MACROS), *FIELDS]
NAMES += [f"feat_{kind}_14" for kind in FEATURES] + [
    "$close",
    "vwap",
    "adv20",
    "@mined",
    "Mean",
    "RANK",
    "z",
    "IndClass.sector",
]
SIGNS = [
    "+",
    "-",
    "*",
    "/",
    "^",
    "**",
    "(",
    ")",
    ",",
    "?",
    ":",
    "|",
    "||",
    "&",
    "<",
    ">",
    "<=",
    "==",
    "!=",
    "!",
    "~",
    "=",
    " ",
]
NUMBERS = ["0", "1", "2", "5", "14", "20", "20d", "1000", "1001", "0.5", "2.", "1e-8", "1e308", "-3", "007"]
SEEDS = [
    "(close - open) / (high - low + 1e-12)",
    "ts_rank(delta(close, 5), 10) * cs_rank(volume)",
    "If(Mean($close, 5) > Ref($close, 3), Std($volume, 10), -1 * Corr($close, $volume, 20))",
    "feat_momentum_24 / (|feat_atr_norm_7| + 1e-06)",
    "z(abs(roll_mean(feat_bb_width_10, 12) - roll_mean(feat_bb_width_20, 12)))",
    "rsi(close, 14) + macd(close, 12, 26) / ema(close, window=9)",
    "Mul(TsMean($close,20d),-1.0)",
    "(close > open && volume > adv20) ? returns : -returns",
    "quantile(close, 20, 0.8) - adx(14)",
]


def soup(rng: random.Random) -> str:
    """Words and signs in no order."""
    return "".join(rng.choice(rng.choice((NAMES, SIGNS, NUMBERS))) for _ in range(rng.randint(1, 40)))


def tree(rng: random.Random, depth: int) -> str:
    """Calls of known names with as many arguments as it happens."""
    if depth == 0 or rng.random() < 0.25:
        return rng.choice([*FIELDS, "returns", "vwap", *NUMBERS])
    if rng.random() < 0.4:
        return f"({tree(rng, depth - 1)} {rng.choice(SIGNS)} {tree(rng, depth - 1)})"
    arguments = [tree(rng, depth - 1) for _ in range(rng.choice((1, 1, 2, 2, 3)))]
    if rng.random() < 0.5:
        arguments[1:] = [rng.choice(NUMBERS) for _ in arguments[1:]]
    return f"{rng.choice(NAMES)}({', '.join(arguments)})"


def mutant(rng: random.Random) -> str:
    """A good expression with characters lost, doubled, swapped or from anywhere."""
    text = list(rng.choice(SEEDS))
    for _ in range(rng.randint(1, 6)):
        place = rng.randrange(len(text))
        change = rng.randrange(4)
        if change == 0 and len(text) > 1:
            del text[place]
        elif change == 1:
            text.insert(place, rng.choice(text))
        elif change == 2:
            text[place] = chr(rng.choice((rng.randrange(128), rng.randrange(0x3000))))
        else:
            other = rng.randrange(len(text))
            text[place], text[other] = text[other], text[place]
    return "".join(text)


def texts(count: int) -> list[str]:
    rng = random.Random(0)
    makers = (soup, mutant, lambda r: tree(r, r.randint(1, 6)))
    return [makers[i % 3](rng) for i in range(count)]


def test_ten_thousand_texts_are_read_or_refused_soon_and_in_little_memory():
    found = texts(10_000)
    results = [timed(text) for text in found]
    slowest = max(range(len(found)), key=lambda i: results[i][1])
    assert results[slowest][1] < LONGEST, found[slowest]
    n_accepted = sum(ok for ok, _ in results)
    assert 300 < n_accepted < 9_000  # the fuzzer makes both kinds


def test_a_thousand_texts_leave_no_memory_behind():
    found = texts(1_000)
    for text in found:
        accepted(text)
    tracemalloc.start()
    try:
        for text in found:
            accepted(text)
        left, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert left < 2_000_000
    assert most < 4_000_000


def test_what_is_read_can_be_checked_and_keyed_soon():
    n_constant, slowest = 0, 0.0
    good = [text for text in texts(3_000) if accepted(text)]
    gc.disable()
    for text in good:
        start = time.process_time()
        try:
            assert len(check(text).key) == 32
        except FactorError:  # what can be read can only be refused as constant
            n_constant += 1
        slowest = max(slowest, time.process_time() - start)
    gc.enable()
    assert n_constant < len(good) / 4
    assert slowest < 5 * LONGEST
