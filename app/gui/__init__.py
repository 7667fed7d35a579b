"""Windows. Nothing here is imported before a window is asked for."""
