"""A start from what would have been best in the training rows, before a policy trades there itself."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from agent_market.trading.env import EpisodeMarket
from agent_market.trading.env.hindsight import best_actions

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

    from agent_market.adapters.stable_baselines3.options import Options

BATCH, LEARNING_RATE = 1024, 1e-3


def imitate(model: "BaseAlgorithm", market: EpisodeMarket, options: "Options", seed: int) -> None:
    """Bring the policy towards the best actions in hindsight of all training rows; nothing beyond them is read.

    `options.imitate` passes over the rows, each with a position drawn at random as the one that is held, by cross
    entropy. Since nobody can know the moves, what is learned is how likely each action is to be the best one, given
    what can be seen. The critic stays as it is.
    """
    rows, best = best_actions(market, options.env)
    steps = np.arange(1 - options.env.window, 1)
    seen = torch.from_numpy(market.features[rows[:, None] + steps].reshape(len(rows), -1))
    levels, best = torch.tensor(options.env.levels, dtype=torch.float32), torch.from_numpy(best)
    policy, generator = model.policy, torch.Generator().manual_seed(seed)
    actor = torch.nn.Sequential(policy.mlp_extractor.policy_net, policy.action_net)
    optimizer = torch.optim.Adam(actor.parameters(), lr=LEARNING_RATE)
    policy.set_training_mode(True)
    for _ in range(options.imitate):
        held = torch.randint(len(levels), (len(rows),), generator=generator)
        for part in torch.randperm(len(rows), generator=generator).split(BATCH):
            observations = torch.cat([seen[part], levels[held[part], None]], dim=1).to(policy.device)
            loss = functional.cross_entropy(actor(observations), best[part, held[part]].to(policy.device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
