"""Settings that every test needs before the libraries load; what the caller has set stays."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test may reach for a model hub
os.environ.setdefault("OMP_NUM_THREADS", "1")  # several processes with two threads each collapse on two cores
os.environ.setdefault("MUJOCO_GL", "egl")
