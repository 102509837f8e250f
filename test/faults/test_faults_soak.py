"""The long run: everything accepted is answered, nothing grows, nothing ends.

ROBOREF_SOAK_S sets its length in seconds (default 180; `make soak` takes 1800; 0 skips it), ROBOREF_SOAK_SEED repeats a run's faults.
"""

import json
import os
import random

import pytest

pytest.importorskip("roboref.action", reason="needs ROS 2 and the built interfaces (make setup, . ./env.sh)")
from fault_soak import Soak

DURATION_S = float(os.environ.get("ROBOREF_SOAK_S", "180"))
SEED = int(os.environ.get("ROBOREF_SOAK_SEED", str(random.SystemRandom().randrange(10**6))))
LONG_S = 900.0
"""From here on there are enough undisturbed questions for percentiles, and memory has had the time to settle."""


@pytest.mark.skipif(DURATION_S <= 0, reason="ROBOREF_SOAK_S is 0")
@pytest.mark.timeout(DURATION_S + 300)
def test_a_long_run_with_faults_at_random(graph, tmp_path):
    print(f"ROBOREF_SOAK_SEED={SEED}")
    soak = Soak(graph, tmp_path, SEED, DURATION_S)
    try:
        soak.run()
        report = soak.report()
        print(json.dumps(report))
        assert soak.process.alive
        assert "INTERNAL" not in report["statuses"] and "Traceback" not in soak.process.log, soak.process.log_end
        assert report["statuses"]["OK"] > 0.2 * DURATION_S
        good = [r for r in soak.referrals if r.status_text == "OK"]
        assert all(any(pose in (r.goal, r.approach) for r in good) for pose in soak.goals), "a pose without its referral"
        long = DURATION_S >= LONG_S
        (warm, last), (first_ms, last_ms) = report["rss_mb"], report["p95_ms"]
        assert last <= warm * (1.03 if long else 1.10), report
        assert report["threads"][1] <= report["threads"][0] + 1 and report["files"][1] <= report["files"][0] + 2, report
        if long:
            assert last_ms <= 1.2 * first_ms + 5.0, report
    finally:
        soak.close()
