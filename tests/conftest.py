"""Settings for all tests."""

from hypothesis import HealthCheck, Phase, settings

# Quick and the same in every run; `--hypothesis-profile long` looks for something new.
settings.register_profile(
    "quick",
    max_examples=300,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "long",
    parent=settings.get_profile("quick"),
    max_examples=20_000,
    derandomize=False,
    phases=[Phase.reuse, Phase.generate, Phase.shrink],
)
settings.load_profile("quick")
