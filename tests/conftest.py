"""What every test may use; `README.md` beside this file says how the suite is arranged."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.fix_servers", "tests.fix_faces", "tests.fix_selection"]

# Time for a busy machine, but not for an input that takes for ever.
settings.register_profile("busy", deadline=5000, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")
