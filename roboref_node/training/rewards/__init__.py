"""Rewards of the spatial-reasoning papers, by name, and their weighted sums."""

from roboref_node.training.rewards import roborefer, scene_r1, spacer, spatial_reasoner, three_d_r1, three_d_rft
from roboref_node.training.rewards.mixture import PRESETS, MixedRewards, RewardMixture, WeightedReward, group_advantages
from roboref_node.training.rewards.registry import Reference, Reward, available_rewards, find_reward, register

__all__ = [
    "PRESETS",
    "MixedRewards",
    "Reference",
    "Reward",
    "RewardMixture",
    "WeightedReward",
    "available_rewards",
    "find_reward",
    "group_advantages",
    "register",
    "roborefer",
    "scene_r1",
    "spacer",
    "spatial_reasoner",
    "three_d_r1",
    "three_d_rft",
]
