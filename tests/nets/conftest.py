"""What the tests of networks share says, too, by what numbers an assertion fails."""

import pytest

pytest.register_assert_rewrite("probing")
