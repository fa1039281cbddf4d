"""The parameters under `features`."""

from pydantic import Field

from agent_market.options import Options


class FeatureOptions(Options):
    """Which factors become features."""

    factor_set: str = Field(
        "basic", description="a packaged set, or the path of a YAML or JSON file {name: expression}"
    )
    factors: dict[str, str] = Field({}, description="further factors, name to expression")
