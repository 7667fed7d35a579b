"""Objects become physics."""
