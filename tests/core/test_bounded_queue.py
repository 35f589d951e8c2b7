"""The hand-over between threads: what waits, what is dropped, what wakes whom."""

import threading

import pytest

from derain.core.bounded_queue import BoundedQueue

SECONDS = 120  # far more than any of this takes


def in_thread(function):
    """Starts `function`; the value joins it and tells whether it came to its end."""
    thread = threading.Thread(target=function, daemon=True)
    thread.start()

    def ended(within_s=SECONDS):
        thread.join(within_s)
        return not thread.is_alive()

    return ended


def drain(box):
    items = []
    while (item := box.get(SECONDS)) is not None:
        items.append(item)
    return items


def test_a_waiting_queue_keeps_every_item_in_order():
    box = BoundedQueue(2, waits=True)
    ended = in_thread(lambda: ([box.put(i) for i in range(1, 1001)], box.end()))
    assert drain(box) == list(range(1, 1001))
    assert box.over
    assert ended()


def test_a_waiting_queue_waits_for_room():
    box = BoundedQueue(1, waits=True)
    box.put(1)
    ended = in_thread(lambda: box.put(2))
    assert not ended(within_s=0.05)
    assert box.get() == 1
    assert ended()
    assert box.get() == 2


@pytest.mark.parametrize("capacity", [1, 3])
def test_the_newest_win_and_the_others_are_reported(capacity):
    lost = []
    box = BoundedQueue(capacity, waits=False, dropped=lost.append)
    for item in range(1, 11):
        assert box.put(item)
    box.end()
    assert drain(box) == list(range(11 - capacity, 11))
    assert lost == list(range(1, 11 - capacity))


def test_nothing_comes_in_time():
    box = BoundedQueue(1, waits=True)
    assert box.get(0.001) is None
    assert not box.over


def test_an_error_comes_after_the_items_and_once():
    box = BoundedQueue(3, waits=True)
    box.put(1)
    box.end(ValueError("gone"))
    assert not box.over
    assert box.get() == 1
    with pytest.raises(ValueError, match="gone"):
        box.get()
    assert box.over


def test_a_reader_that_leaves_frees_the_writer():
    lost = []
    box = BoundedQueue(1, waits=True, dropped=lost.append)
    box.put(1)
    accepted = []
    ended = in_thread(lambda: accepted.append(box.put(2)))
    assert not ended(within_s=0.05)
    box.cancel()
    assert ended()
    assert accepted == [False]
    assert sorted(lost) == [1, 2]
    assert not box.put(3)
    assert lost[-1] == 3


def test_an_end_frees_the_reader():
    box = BoundedQueue(1, waits=True)
    ended = in_thread(box.get)
    assert not ended(within_s=0.05)
    box.end()
    assert ended()
