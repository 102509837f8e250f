"""docs/faults.md says what the fault table says and what the tests found."""

import pytest

pytest.importorskip("roboref.action", reason="needs ROS 2 and the built interfaces (make setup, . ./env.sh)")
from fault_page import PAGE, load, render

FAULTS, RESULTS = load()


def test_the_page_is_current():
    assert set(RESULTS) <= set(FAULTS), sorted(set(RESULTS) - set(FAULTS))
    assert len(RESULTS) >= 0.95 * len(FAULTS), sorted(set(FAULTS) - set(RESULTS))
    assert PAGE.read_text() == render(FAULTS, RESULTS), "write it anew: python test/faults/fault_page.py"


def test_there_are_enough_faults_and_most_of_them_do_harm():
    assert len(FAULTS) >= 60
    assert sum(not fault.harmless for fault in FAULTS.values()) >= 60


@pytest.mark.parametrize("name", RESULTS)
def test_what_was_found_is_what_is_expected(name):
    fault, result = FAULTS[name], RESULTS[name]
    assert result["status"] == fault.status and fault.explains(result["sentence"])
    assert result["noticed_s"] <= fault.within_s and fault.what and len(fault.injection) > 5
