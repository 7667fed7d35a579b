"""Names of what a training leaves in its folder."""

METRICS, LATEST, BEST = "metrics.jsonl", "latest.safetensors", "policy.safetensors"
"""What was measured meanwhile, what a killed run goes on from, and the network that is kept."""
EYES = "eyes"
"""The folder in which it learnt to see, beside `ROUND` + number, in which it learnt to act."""
PRETRAINED = "pretrained"
"""Where it first learnt to foretell, if it did."""
ROUND = "round_"
