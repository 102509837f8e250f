"""The tiny checkpoints of the model's tests serve the training tests too."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "model"))
