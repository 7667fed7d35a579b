"""The window's fixtures, for the tests that ask for them."""

from tests.app.windows import clean, desk, fake_steps, preferences, window

__all__ = ["clean", "desk", "fake_steps", "preferences", "window"]
