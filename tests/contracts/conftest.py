"""What the contract tests of the REST API share: the fixtures of its own tests."""

# What a later one overrides is as the later one has it.
from tests.gateway.api.conftest import *  # noqa: F403
from tests.gateway.api.sahara.conftest import *  # noqa: F403
from tests.gateway.conftest import *  # noqa: F403
