"""Every fault of the table, injected: status, number, time to notice and recovery are right, and no goal gets out."""

import pytest

pytest.importorskip("roboref.action", reason="needs ROS 2 and the built interfaces (make setup, . ./env.sh)")
from fault_rows import FAULTS


@pytest.mark.parametrize("name", FAULTS)
def test_fault(name, request, record):
    fault = FAULTS[name]
    record(fault, request.getfixturevalue(fault.bench).play(fault))
