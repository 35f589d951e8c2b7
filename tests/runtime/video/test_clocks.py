from derain.runtime.video.sources.sender_clock import SenderClock


def test_a_frame_that_waited_is_as_old_as_it_is():
    clock = SenderClock()
    clock.sent(0.0, 100.0)
    # Two seconds of frames come at once, a second after the last of them was sent.
    late = [clock.sent(stamp, 103.0) for stamp in (1.0, 1.5, 2.0)]
    # It has drifted by no more than 2e-4 of three seconds.
    assert [round(moment, 2) for moment in late] == [101.0, 101.5, 102.0]


def test_the_quickest_frame_sets_the_clock():
    clock = SenderClock()
    assert clock.sent(0.0, 100.5) == 100.5  # a slow one first
    assert clock.sent(1.0, 101.0) == 101.0
    assert round(clock.sent(2.0, 102.5), 2) == 102.0


def test_no_frame_comes_from_the_future():
    clock = SenderClock()
    for index in range(100):
        arrived = 100 + index * 0.04 + (index % 7) * 0.01
        assert clock.sent(index * 0.04, arrived) <= arrived


def test_a_camera_whose_clock_is_slow_does_not_age():
    clock = SenderClock()
    # 100 parts per million, for three hours.
    waits = [3600 * h - clock.sent(3600 * h * (1 - 1e-4), 3600.0 * h) for h in range(4)]
    assert max(waits) == 0


def test_a_clock_that_is_set_anew():
    clock = SenderClock()
    clock.sent(5000.0, 100.0)
    assert clock.sent(0.0, 101.0) == 101.0
