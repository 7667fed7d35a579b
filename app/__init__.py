"""Two thin front ends over the same functions."""
