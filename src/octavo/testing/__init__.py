"""What octavo is tested with, for your tests too: real servers, a wire proxy, pytest fixtures.

Import from the modules: `octavo.testing.servers`, `octavo.testing.proxy`. This package itself
imports nothing, because pytest loads `octavo.testing.plugin` in every run.
"""
