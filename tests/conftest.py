"""What all tests share."""

from hypothesis import settings

# A slow machine is no wrong answer: nothing here asserts on the clock.
settings.register_profile("estats", deadline=None)
settings.load_profile("estats")
