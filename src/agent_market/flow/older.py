"""Flow files of the older tool, `agent_flow_*.json`, as task files of this one.

They have up to five sections: `feature` and `expression` (scripts with their arguments), `ml_training` (one training
or several), `rl_training` and `backtest` (a command line of freqtrade, or its parts). What each setting means there
was read from the files themselves, and from what their scripts are known to do.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from agent_market.adapters import get_adapter
from agent_market.errors import ParameterError
from agent_market.flow.older_models import model_block, policy_block
from agent_market.flow.older_reading import Arguments, Reader
from agent_market.parameters import Parameters

SECTIONS = ("feature", "expression", "ml_training", "rl_training", "backtest")

DEFAULT_HORIZONS = (1, 4, 12, 24)

ELSEWHERE = "datasets lie where conf/base/catalog says"
OTHER_FILE = "another file, which is not read: what of it matters here belongs under market, features and backtest"
GATE = "the gate decides by statistics of its own (mining.gate, docs/mining.md)"
WINDOWS = "trades are made in the test windows of the folds: see folds.train, folds.valid and folds.test"


@dataclass(frozen=True)
class Imported:
    """A task file's content, and each setting of the older file that it does not carry on: its path and why."""

    task: dict[str, Any]
    unmatched: list[str]


def read_older(path: Path) -> Imported:
    """The task that an older flow file says, named after the file.

    Raises:
        ParameterError: The file cannot be read, or is no flow file.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))  # some begin with a byte order mark
    except (OSError, ValueError) as error:
        raise ParameterError(
            f"{path} cannot be read as a flow file of the older tool, which is JSON: {error}"
        ) from None
    name = "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in path.stem.lower())
    return import_older(content, name=name.strip("_")[:40] or "older")


def import_older(content: dict[str, Any], *, name: str = "older") -> Imported:
    """The task that the content of an older flow file says.

    Its models get names that begin with `older_`, so that they are not mixed with configured ones. Paths stay as they
    are written: relative ones are meant from the folder where the flow runs.

    Raises:
        ParameterError: It is no flow file, or a section is not of the kind that it must be.
    """
    if not isinstance(content, dict) or not any(section in content for section in SECTIONS):
        found = ", ".join(content) if isinstance(content, dict) else type(content).__name__
        raise ParameterError(
            f"no flow file of the older tool: it has none of the sections {', '.join(SECTIONS)}, but "
            f"{found or 'nothing'}"
        )
    flow = _Flow(Reader(content, ""))
    return Imported(task={"name": name, **flow.task()}, unmatched=flow.unmatched)


class _Flow:
    def __init__(self, top: Reader) -> None:
        self.unmatched = top.said
        self.parameters: dict[str, Any] = {}
        self.origins: dict[tuple[str, ...], str] = {}
        self.models: list[str] = []
        self.feedback = "none"
        self.has = {section: section in top for section in SECTIONS}
        self._read_models(top)
        if self.has["feature"]:
            self._read_features(top.section("feature"))
        if self.has["expression"]:
            self._read_expressions(top.section("expression"))
        if self.has["backtest"]:
            self._read_backtest(top.section("backtest"))
        top.rest("no pipeline of this project does that", whole=True)
        self._place_candles()
        self._leave_out_what_is_wrong()
        self._add_what_follows()

    def task(self) -> dict[str, Any]:
        """The keys of the task file that the older file says something of."""
        stages = [get_adapter(self.parameters["models"][name]["adapter"]) for name in self.models]
        steps = ["data_engineering"]
        steps += ["factor_mining"] if self.has["expression"] else []
        steps += ["feature_store"]
        steps += sorted({getattr(stage, "STAGE", "ml_training") for stage in stages}, key=_STAGES.index)
        if self.has["backtest"] and self.models:
            steps += ["backtest", "attribution", "reporting"]
        elif self.has["backtest"]:
            self.unmatched.append("backtest: its strategy traded expressions; here models trade, and the file has none")
        return {
            "parameters": self.parameters,
            "steps": steps,
            "models": self.models or None,
            "rounds": 1,
            "feedback": self.feedback,
            "on_error": {"policy": "stop", "retries": 0},  # as the older tool did
        }

    def set(self, path: str, value: Any, origin: str) -> None:
        """Set a parameter; a second, different value of the same one is told instead, as the project has one."""
        *blocks, key = path.split(".")
        tree = self.parameters
        for block in blocks:
            tree = tree.setdefault(block, {})
        if key in tree and tree[key] != value:
            self.unmatched.append(f"{origin} = {value!r}: the project has one {path}, and it is {tree[key]!r} already")
            return
        tree[key] = value
        self.origins.setdefault((*blocks, key), origin)

    def _read_models(self, top: Reader) -> None:
        if self.has["ml_training"]:
            section = top.section("ml_training")
            for training in section.sections("config", "configs"):
                self._read_data(training.section("data"))
                self._add(*model_block(training))
                training.rest("nothing here corresponds to it")
            section.rest("nothing here corresponds to it")
        if self.has["rl_training"]:
            section = top.section("rl_training")
            training = section.section("config")
            self._read_data(training.section("data"))
            self._add("ppo", policy_block(training))
            training.rest("nothing here corresponds to it")
            section.rest("nothing here corresponds to it")

    def _add(self, name: str, block: dict[str, tuple[Any, str]] | None) -> None:
        if block is None:
            return
        name = f"older_{name}"
        number = 1 + sum(other == name or other.rsplit("_", 1)[0] == name for other in self.models)
        name = name if number == 1 else f"{name}_{number}"
        self.models.append(name)
        for option, (value, origin) in block.items():
            self.set(f"models.{name}.{option}", value, origin)

    def _read_data(self, data: Reader) -> None:
        """What all trainings share here: the market, the horizon and the factor set."""
        for key, path in (("exchange", "market.exchange"), ("timeframe", "market.timeframe")):
            data.pass_on(key, path, self.set)
        if pairs := data.take("pairs"):
            before = self.parameters.setdefault("market", {}).setdefault("pairs", [])
            before += [pair for pair in pairs if pair not in before]
            self.origins.setdefault(("market", "pairs"), data.path("pairs"))
        data.pass_on("data_dir", "market.datadir", self.set)
        horizon = data.take("label_period")
        if horizon is not None:
            self.set("training.horizon", horizon, data.path("label_period"))
        data.pass_on("feature_file", "features.factor_set", self.set)
        expressions = data.take("expressions_file")
        if expressions is not None and "factor_set" in self.parameters.get("features", {}):
            data.say(
                "expressions_file", expressions, "there is one factor set; mined factors come in by features.mined"
            )
        elif expressions is not None:
            self.set("features.factor_set", expressions, data.path("expressions_file"))
        data.rest("features are made of candles alone")

    def _read_features(self, section: Reader) -> None:
        arguments = self._arguments(section)
        arguments.drop(OTHER_FILE, "--config")
        output = arguments.text("--output")
        if output and "factor_set" not in self.parameters.get("features", {}):
            self.set("features.factor_set", output, arguments.path("--output"))
        elif output and output != self.parameters["features"]["factor_set"]:
            arguments.say("--output", output, "the trainings name the file that they read, and that one is taken")
        self._shared_arguments(arguments)
        arguments.rest("the factor set says which factors there are; none is chosen by its score in sample")

    def _read_expressions(self, section: Reader) -> None:
        self.set("features.mined", True, "expression")
        heard = section.take("feedback_top", 10)
        self.feedback = "latest" if heard else "none"
        if heard:
            section.say("feedback_top", heard, "feedback: latest tells proposers all that the latest run found out")
        section.drop("the feedback of a run is archived with it (feedback: latest)", "feedback_path")
        arguments = self._arguments(section)
        arguments.drop(OTHER_FILE, "--config")
        arguments.drop(ELSEWHERE, "--output")
        arguments.drop("expressions are made of candles and of the factors of the library", "--feature-file")
        self._shared_arguments(arguments)
        self._read_language_model(arguments)
        if (feedback := arguments.text("--feedback")) is not None:
            self.set("mining.feedback", feedback, arguments.path("--feedback"))
        arguments.drop("see feedback_top", "--feedback-top")
        generations, population = arguments.number("--gp-generations"), arguments.number("--gp-population")
        if population:
            self.set("mining.genetic.population", population, arguments.path("--gp-population"))
        if population and generations:
            self.set("mining.arms.genetic", population * generations, arguments.path("--gp-generations"))
        arguments.flag("--gp-enabled", "--mine")  # what the step does anyway
        arguments.rest(GATE)

    def _read_language_model(self, arguments: Arguments) -> None:
        named = any(flag.startswith("--llm") for flag in arguments.given)
        if arguments.flag("--no-llm") or not (arguments.flag("--llm-enabled") or named):
            arguments.drop("no language model is asked (--no-llm)", *filter(_is_of_llm, arguments.given))
            return
        count, loops = arguments.number("--llm-count", 20), arguments.number("--llm-loops", 1)
        self.set("mining.arms.llm", count * loops, arguments.path("--llm-count"))
        for flag, option in (
            ("--llm-base-url", "base_url"), ("--llm-model", "model"), ("--llm-temperature", "temperature"),
            ("--llm-max-tokens", "max_tokens"), ("--llm-timeout", "timeout"),
        ):  # fmt: skip
            value = arguments.text(flag) if option in ("base_url", "model") else arguments.number(flag)
            if value is not None:
                self.set(f"mining.llm.{option}", value, arguments.path(flag))
        if (retries := arguments.number("--llm-retries")) is not None:
            self.set("mining.llm.attempts", retries + 1, arguments.path("--llm-retries"))
        secret = "a key is no parameter: conf/local/credentials.yml, llm: {api_key: …}, or AGENT_MARKET_LLM_KEY"
        arguments.drop(secret, "--llm-api-key", secret=True)
        arguments.drop("what happens when a server fails is said by on_error.policy", "--llm-fallback")

    def _read_backtest(self, section: Reader) -> None:
        command = section.take("command")
        if command is not None:
            arguments = Arguments(command, section.path("command"), section.said)
        else:
            arguments = Arguments(section.take("extra_args", []), section.path("extra_args"), section.said)
            section.drop("freqtrade is the installed package", "binary")
            section.drop(OTHER_FILE, "config")
            section.drop(WINDOWS, "timerange")
            section.drop(_STRATEGY, "strategy", "strategy_path")
        arguments.drop(OTHER_FILE, "--config", "-c")
        arguments.drop(_STRATEGY, "--strategy", "-s", "--strategy-path", "--freqaimodel", "--freqaimodel-path")
        arguments.drop(WINDOWS, "--timerange")
        self._shared_arguments(arguments)
        for flag, option in (
            ("--fee", "fee"), ("--starting-balance", "starting_balance"), ("--dry-run-wallet", "starting_balance"),
            ("--max-open-trades", "max_open_trades"),
        ):  # fmt: skip
            if (value := arguments.number(flag)) is not None:
                self.set(f"backtest.{option}", value, arguments.path(flag))
        if (stake := arguments.number("--stake-amount", words=("unlimited",))) is not None:
            self.set("backtest.stake_amount", stake, arguments.path("--stake-amount"))
        if (folder := arguments.text("--datadir")) is not None and "datadir" not in self.parameters.get("market", {}):
            self.set("market.datadir", folder, arguments.path("--datadir"))
        arguments.drop("files of each of freqtrade's formats are read", "--dataformat-ohlcv", "--data-format-ohlcv")
        arguments.drop(ELSEWHERE, "--export", "--export-filename", "--userdir", "--user-data-dir", "--cache")
        arguments.rest("the embedded engine and freqtrade follow the block backtest alone (docs/backtest.md)")
        section.drop(ELSEWHERE, "results_dir", "userdir", "cwd")
        section.drop("the feedback of a run is archived with it", "feedback_path")
        section.drop("policies are models like others, and trade in the backtest", "generate_rl_signals", "rl_summary")
        section.rest("nothing here corresponds to it")

    def _arguments(self, section: Reader) -> Arguments:
        section.drop("a pipeline of this project does what the script did", "script", "cwd")
        arguments = Arguments(section.take("args", []), section.path("args"), section.said)
        section.rest("nothing here corresponds to it")
        return arguments

    def _shared_arguments(self, arguments: Arguments) -> None:
        """Pairs and timeframe: those of the trainings, if there are any."""
        timeframe = arguments.text("--timeframe") or arguments.text("-i")
        if timeframe is not None:
            self.set("market.timeframe", timeframe, arguments.path("--timeframe"))
        pairs = arguments.texts("--pairs") or arguments.texts("-p")
        market = self.parameters.setdefault("market", {})
        if pairs and "pairs" not in market:
            self.set("market.pairs", pairs, arguments.path("--pairs"))
        elif pairs and pairs != market["pairs"]:
            arguments.say("--pairs", pairs, f"all steps share one market, of the pairs {' '.join(market['pairs'])}")

    def _place_candles(self) -> None:
        """The source of the candles: the files that the older tool read, if it says where they are."""
        market = self.parameters.setdefault("market", {})
        if "datadir" in market:
            folder, exchange = Path(market["datadir"]), market.get("exchange")
            market["datadir"] = (folder if exchange in (None, folder.name) else folder / exchange).as_posix()
            market["source"] = "freqtrade_datadir"
        else:
            for key in list(market):
                origin, value = self.origins.pop(("market", key)), market.pop(key)
                self.unmatched.append(f"{origin} = {value!r}: no folder of candles is named, so market.{key} is left")

    def _add_what_follows(self) -> None:
        """What the older tool did without being told, and what this project says in a second place."""
        if "factor_set" in self.parameters.get("features", {}):
            self.parameters["features"]["on_rejected"] = "warn"  # it went on without factors that it could not read
        if (horizon := self.parameters.get("training", {}).get("horizon")) is not None:
            self.parameters["labels"] = {"horizons": sorted({*DEFAULT_HORIZONS, horizon})}
            if self.has["expression"]:
                self.parameters.setdefault("mining", {})["horizon"] = horizon
        self.parameters = {name: block for name, block in self.parameters.items() if block}

    def _leave_out_what_is_wrong(self) -> None:
        """Take out values that this project's parameters do not allow, and tell them."""
        for name in [name for name in self.parameters if name != "models"]:
            options = Parameters.model_fields[name].annotation
            self._check((name,), options)
        for name in self.models:
            self._check(("models", name), get_adapter(self.parameters["models"][name]["adapter"]).Options)

    def _check(self, path: tuple[str, ...], options: Any) -> None:
        tree = self.parameters
        for part in path:
            tree = tree[part]
        try:
            options.model_validate(tree)
        except ValidationError as error:
            for problem in error.errors():
                self._take_out(path, problem)

    def _take_out(self, path: tuple[str, ...], problem: Any) -> None:
        where = (*path, *(str(part) for part in problem["loc"]))
        found = next((where[:length] for length in range(len(where), 0, -1) if where[:length] in self.origins), None)
        message = problem["msg"].removeprefix("Value error, ")
        if found is None:
            raise ParameterError(f"{'.'.join(where)}: {message} (what the older file says of it has no counterpart)")
        tree = self.parameters
        for part in found[:-1]:
            tree = tree[part]
        value = tree.pop(found[-1], None)
        self.unmatched.append(f"{self.origins.pop(found)} = {value!r}: {'.'.join(found)} cannot be that: {message}")


_STAGES = ("ml_training", "dl_training", "rl_training", "ensemble")
_STRATEGY = "the strategy is this project's: predictions become positions as backtest.positions says"


def _is_of_llm(flag: str) -> bool:
    return flag.startswith("--llm")
