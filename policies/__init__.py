"""Experience becomes a skill."""
