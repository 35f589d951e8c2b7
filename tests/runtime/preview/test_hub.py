"""From one thread to the viewers: the newest picture, and no queue."""

import asyncio

from derain.runtime.preview.hub import MAX_VIEWERS, Hub


async def next_of(viewer):
    async for picture in viewer.pictures():
        return picture
    return None


def in_a_loop(test):
    """What ``test(hub)`` returns, in an event loop of its own."""

    async def run():
        hub = Hub()
        hub.attach(asyncio.get_running_loop())
        return await asyncio.wait_for(test(hub), 120)

    return asyncio.run(run())


def test_a_viewer_gets_the_newest_picture_once():
    async def test(hub):
        with hub.watching("derained") as viewer:
            for picture in (b"1", b"2", b"3"):
                hub.publish("derained", picture)
            await asyncio.sleep(0)
            first = await next_of(viewer)
            hub.publish("derained", b"4")
            return first, await next_of(viewer)

    assert in_a_loop(test) == (b"3", b"4")


def test_a_viewer_gets_the_view_that_it_asked_for():
    async def test(hub):
        with hub.watching("rain") as viewer:
            hub.publish("rain", b"rain")
            hub.publish("derained", b"other")
            await asyncio.sleep(0)
            return await next_of(viewer)

    assert in_a_loop(test) == b"rain"


def test_what_is_watched_is_known():
    async def test(hub):
        seen = [hub.watched]
        with hub.watching("rain"), hub.watching("rain"), hub.watching("derained"):
            seen.append(hub.watched)
        return [*seen, hub.watched]

    assert in_a_loop(test) == [set(), {"rain", "derained"}, set()]


def test_there_is_a_greatest_number_of_viewers():
    async def test(hub):
        from contextlib import ExitStack

        with ExitStack() as stack:
            viewers = [
                stack.enter_context(hub.watching("rain"))
                for _ in range(MAX_VIEWERS + 1)
            ]
            number = hub.viewers
        return [viewer is None for viewer in viewers], number, hub.viewers

    full = [False] * MAX_VIEWERS + [True]
    assert in_a_loop(test) == (full, MAX_VIEWERS, 0)


def test_the_last_picture_comes_before_the_end():
    async def test(hub):
        with hub.watching("rain") as viewer:
            hub.publish("rain", b"last")
            await asyncio.sleep(0)
            hub.end()
            return [picture async for picture in viewer.pictures()]

    assert in_a_loop(test) == [b"last"]


def test_the_end_reaches_viewers_before_and_after_it():
    async def test(hub):
        with hub.watching("rain") as early:
            hub.end()
            with hub.watching("rain") as late:
                return await next_of(early), await next_of(late)

    assert in_a_loop(test) == (None, None)
