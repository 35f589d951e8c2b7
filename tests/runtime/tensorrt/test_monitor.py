"""How far a build is."""

import threading
import types

from derain.runtime.tensorrt.monitor import PhaseTree, progress_monitor


def test_nested_phases_are_parts_of_a_step():
    told = []
    tree = PhaseTree(lambda part, phase: told.append((round(part, 3), phase)))
    tree.start("build", None, 4)
    tree.step("build", 0)
    tree.start("time", "build", 2)
    tree.step("time", 0)
    tree.finish("time")
    tree.step("build", 3)
    expected = [
        (0, "build"),
        (0.25, "build"),
        (0.25, "time"),
        (0.375, "time"),
        (1, "build"),
    ]
    assert told == expected


def test_progress_never_goes_back():
    told = []
    tree = PhaseTree(lambda part, phase: told.append(part))
    tree.start("build", None, 2)
    for _ in range(2):  # two phases one after the other in the same step
        tree.start("time", "build", 2)
        tree.step("time", 0)
        tree.finish("time")
    tree.step("unknown", 9)
    assert told == sorted(told)


def test_phases_may_come_from_several_threads():
    """The library builds on several; what is told must still never go back."""
    told = []
    tree = PhaseTree(lambda part, phase: told.append(part))
    tree.start("build", None, 8)

    def work(name):
        for _ in range(200):
            tree.start(name, "build", 50)
            for step in range(50):
                tree.step(name, step)
            tree.finish(name)

    threads = [threading.Thread(target=work, args=(f"t{k}",)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(told) == 1 + 4 * 200 * 51
    assert told == sorted(told)


def test_one_phase_at_a_time_is_told():
    """A thread waits while another is told: two lines of JSON never mix."""
    inside, seen = threading.Event(), []

    def tell(part, phase):
        if phase == "slow":
            inside.set()
            other.join(0.2)
            seen.append("slow")
        else:
            seen.append(phase)

    tree = PhaseTree(tell)
    other = threading.Thread(target=lambda: inside.wait() and tree.start("b", None, 1))
    other.start()
    tree.start("slow", None, 1)
    other.join()
    assert seen == ["slow", "b"]


def test_what_goes_wrong_in_the_monitor_never_cancels_a_build():
    def broken(part, phase):
        raise BrokenPipeError("nobody reads")

    class Base:
        pass

    module = types.SimpleNamespace(IProgressMonitor=Base)
    monitor = progress_monitor(module, PhaseTree(broken))
    monitor.phase_start("build", None, 2)
    assert monitor.step_complete("build", 0) is True
    monitor.phase_finish("build")
