"""Properties are about behaviour: a slow machine is no reason for them to fail."""

from hypothesis import settings

settings.register_profile("without deadline", deadline=None)
settings.load_profile("without deadline")
