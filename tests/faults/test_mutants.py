"""F2: the property test of the core is worth something: it finds each of these deliberate defects."""

from __future__ import annotations

import pytest
from hypothesis import Phase
from hypothesis import settings as hypothesis_settings
from hypothesis.stateful import run_state_machine_as_test

from tests.faults.mutants import MUTANTS, Mutant
from tests.faults.seeds import LONG
from tests.framework.core.test_faults import STEPS, Faults
from tests.measured import Measured

# Most take a few, the rarest some hundreds: where it is 360 in the mean, 2,000 find none in one run of
# 250. The property test runs 600 each time.
EXAMPLES = 10_000 if LONG else 5000


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_defect_is_found(mutant: Mutant, monkeypatch: pytest.MonkeyPatch, measured: Measured) -> None:
    mutant(monkeypatch)
    # Generated only: to shrink what was found would take longer than to find it.
    settings = hypothesis_settings(
        max_examples=EXAMPLES,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        print_blob=False,
    )
    with pytest.raises(BaseException) as found:  # noqa: PT011 - a defect shows in many ways
        run_state_machine_as_test(Faults, settings=settings)
    assert not isinstance(found.value, KeyboardInterrupt | SystemExit)
    measured("F2 deliberate defects found", 1)
