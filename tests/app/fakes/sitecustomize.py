"""Found by every Python started with this folder on its path: the tests' child processes use the stand-ins too."""

import fake_steps

fake_steps.install()
