"""Ways to spoil what a `FaultyCamera` publishes, and injections made of them."""

from __future__ import annotations

import numpy as np
from fault_camera import WIDTH, pictures


def nothing(message):
    """For `FaultyCamera.spoil`: not published."""
    return None


def changed(**fields):
    """For `FaultyCamera.spoil`: the message with other fields; a value that can be called gets the present one."""

    def spoil(message):
        for name, value in fields.items():
            setattr(message, name, value(getattr(message, name)) if callable(value) else value)
        return message

    return spoil


def with_depth(change):
    """For `FaultyCamera.spoil`: the depth image after `change` of its array of millimetres (uint16, H x W)."""

    def spoil(message):
        depth_mm = pictures()[1]
        changed_mm = change(depth_mm)
        message.data = (depth_mm if changed_mm is None else changed_mm).tobytes()
        return message

    return spoil


def in_metres(change):
    """For `FaultyCamera.spoil`: a 32FC1 image after `change` of its array of metres."""

    def spoil(message):
        metres = pictures()[1].astype(np.float32) / 1000
        metres = np.asarray(change(metres), np.float32)
        return changed(encoding="32FC1", step=4 * WIDTH, data=metres.tobytes())(message)

    return spoil


def restart_node(bench):
    """Deactivate and activate: the node has seen nothing yet."""
    assert bench.reactivate()


def spoils(by_model=False, **spoil):
    """An injection: messages of these names are spoilt; the question is then asked with a pixel, or `by_model`.

    What is wrong with colour is seen only when a model wants to look.
    """

    def inject(bench):
        bench.camera.spoil |= spoil
        return bench.ask if by_model else None

    return inject


def sets(**attributes):
    """An injection: attributes of the camera."""

    def inject(bench):
        for name, value in attributes.items():
            setattr(bench.camera, name, value)

    return inject


def shuts(*names):
    """An injection: the publishers of these names are destroyed, all of the camera's without."""
    return lambda bench: bench.camera.shut(*names)


def restarted(inject):
    """An injection whose node has seen nothing of before."""

    def both(bench):
        inject(bench)
        restart_node(bench)

    return both


def looks(*pixel, **fields):
    """An injection that is a question: at that pixel, with those fields of the goal."""
    return lambda bench: lambda: bench.look(*pixel, **fields)
