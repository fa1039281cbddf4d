"""Project settings, read by Kedro."""

import warnings

from omegaconf.resolvers import oc

from agent_market.configured import ConfiguredHooks
from agent_market.flow.guard import GuardHooks
from agent_market.hooks import ProgressHooks, SummaryHooks
from agent_market.tracking import TrackingHooks

warnings.filterwarnings("ignore", message="register_new_resolver")  # Kedro 1.7 with OmegaConf 2.4
warnings.filterwarnings("ignore", message="One or more dataset names contain '.'")  # `<model>.predictions` on purpose

HOOKS = (ConfiguredHooks(), GuardHooks(), ProgressHooks(), SummaryHooks(), TrackingHooks())
RUNNER_MODULE_ALLOWLIST = ("agent_market.flow",)
DISABLE_HOOKS_FOR_PLUGINS = ("kedro-telemetry", "kedro_mlflow")  # TrackingHooks call the latter where it is wanted

CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    "merge_strategy": {"parameters": "soft"},
    "custom_resolvers": {"oc.env": oc.env},
}
