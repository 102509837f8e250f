"""Checks of the transforms from the camera to the robot, and of the clocks that stamps come from."""

from __future__ import annotations

from roboref_node.doctor.findings import Finding, Level
from roboref_node.doctor.listening import Listener, Seen
from roboref_node.goals.profile import RobotProfile
from roboref_node.status import Refused, Status

_TF_FIX = "publish /tf reliable, and /tf_static reliable and transient local, as the broadcasters of tf2_ros do"

_CLOCK_S = 1.0
"""Stamps that are farther from a clock than this do not come from it."""


def check_transforms(listener: Listener, seen: Seen, profile: RobotProfile) -> list[Finding]:
    """The chain from the camera to the robot at the stamp of an image, who publishes it, and that no frame has two parents."""
    findings = [
        Finding("tf_qos", Level.ERROR, problem, f"tf2 listens to {topic} with its own profile and hears nothing of it", _TF_FIX)
        for topic, problem in seen.unheard.items()
    ]
    findings += _two_parents(seen, profile)
    if seen.pair is None:
        return findings
    source = seen.pair.frame_id
    if not source:
        why = "nobody knows where an image without a frame was taken"
        return [
            *findings,
            Finding("tf", Level.ERROR, f"the images of {seen.topics.color} have no frame_id", why, "set the driver's frame name"),
        ]
    for target in dict.fromkeys((profile.goal_frame, profile.base_frame)):
        transforms = listener.receiver.transforms
        try:
            transforms.lookup(target, source, seen.pair.stamp_ns)
            lag_s = transforms.lag_s(target, source, seen.pair.stamp_ns)
        except Refused as refused:
            missing = refused.status is Status.TF_UNAVAILABLE
            fix = (
                f"ros2 run tf2_tools view_frames; then publish the missing link between {source} and {target} "
                "(robot_state_publisher, or static_transform_publisher with the hand-eye calibration)"
                if missing
                else "synchronise the hosts' clocks (chrony), and check the rate of the broadcaster with ros2 topic hz /tf"
            )
            why = f"goals are given in {target}, the camera looks from {source}"
            findings.append(Finding("tf", Level.ERROR, refused.sentence, why, fix))
            continue
        age = "static" if lag_s is None else f"newest {1000 * abs(lag_s):.0f} ms {'before' if lag_s > 0 else 'after'} the image"
        findings.append(Finding("tf", Level.OK, f"{target} from {source}: complete, {age}"))
    return findings


def _two_parents(seen: Seen, profile: RobotProfile) -> list[Finding]:
    """A frame with two parents jumps between two places; those on the way from the camera to the robot matter."""
    findings = []
    chain = set().union(*(_ancestors(seen, name) for name in (profile.goal_frame, profile.base_frame, seen.reading.color.frame_id)))
    for child, parents in sorted(seen.parents.items()):
        if len(parents) < 2:
            continue
        what = f"the frame {child} has {len(parents)} parents: {', '.join(sorted(parents))}"
        why = "it jumps from one to the other with each message, and the goal with it"
        fix = "ros2 topic info -v /tf; stop one of its broadcasters (a camera driver and a URDF often both publish it)"
        findings.append(Finding("tf_two_parents", Level.ERROR if child in chain else Level.WARNING, what, why, fix))
    return findings


def _ancestors(seen: Seen, frame: str) -> set[str]:
    found, waiting = set(), [frame]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += seen.parents.get(name, ())
    return found


def check_clock(seen: Seen) -> list[Finding]:
    """Whether stamps, /clock and the nodes' use_sim_time are of one time."""
    findings = []
    if seen.publishers.get("clock", 0) > 1:
        what = f"{seen.publishers['clock']} nodes publish /clock"
        fix = "ros2 topic info -v /clock; stop all but one"
        findings.append(Finding("clock_publishers", Level.ERROR, what, "time jumps back and forth, and TF is forgotten at each jump", fix))
    if not seen.publishers.get("clock", 0):
        for node in (node for node in seen.refer_nodes if node.use_sim_time):
            what = f"{node.name} has use_sim_time:=true, and nobody publishes /clock"
            fix = f"ros2 param set {node.name} use_sim_time false, or start the simulation or ros2 bag play --clock"
            findings.append(Finding("use_sim_time", Level.ERROR, what, "its time stands still at 0: every frame is refused as stale", fix))
    return findings or _stamps(seen)


def _stamps(seen: Seen) -> list[Finding]:
    stream = seen.reading.color
    if stream.age_s is None or stream.silent_s is None:
        return []
    age_s = stream.age_s - stream.silent_s
    simulated_age_s = None if seen.clock_ns is None else (seen.clock_ns - stream.stamp_ns) / 1e9
    simulated = simulated_age_s is not None and abs(simulated_age_s) <= _CLOCK_S
    real = abs(age_s) <= _CLOCK_S
    if not simulated and not real:
        other = "nobody publishes /clock" if simulated_age_s is None else f"{simulated_age_s:.3f} s old by /clock"
        what = f"the newest image is {age_s:.3f} s old by the system's clock, and {other}"
        why = "every frame is refused as stale (max_frame_age_s)"
        fix = "synchronise the hosts (chrony); for a bag: roboref replays it with /clock, and the nodes need use_sim_time:=true"
        return [Finding("clock", Level.ERROR, what, why, fix)]
    findings = []
    if simulated:
        findings.append(Finding("clock", Level.OK, "the images' stamps follow /clock: every node needs use_sim_time:=true"))
    elif simulated_age_s is not None:
        why = "nodes with use_sim_time refuse every frame"
        findings.append(
            Finding(
                "clock", Level.WARNING, "/clock is published, but the images' stamps follow the system's clock", why, "stop its publisher"
            )
        )
    else:
        findings.append(Finding("clock", Level.OK, f"the images' stamps follow the system's clock, {1000 * age_s:.0f} ms old on arrival"))
    for node in seen.refer_nodes:
        fits = node.use_sim_time if simulated and not real else not node.use_sim_time if real and not simulated else True
        if not fits:
            what = f"{node.name} has use_sim_time:={str(node.use_sim_time).lower()}, the images' stamps say {str(simulated).lower()}"
            fix = f"ros2 param set {node.name} use_sim_time {str(simulated).lower()}"
            findings.append(Finding("use_sim_time", Level.ERROR, what, "every frame is refused as stale", fix))
    return findings
