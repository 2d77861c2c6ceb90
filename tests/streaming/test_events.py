"""Events reach every listener, and a slow one holds nobody up."""

import asyncio
import json

import pytest

from streaming.events import (
    BufferCleared,
    Event,
    Events,
    Interrupted,
    SpeakEnded,
    SpeakStarted,
    SpeechStarted,
    SpeechStopped,
    Subscription,
)


def event(number: int) -> Event:
    return SpeechStarted(float(number))


async def all_of(listener: Subscription) -> list[Event]:
    return [event async for event in listener]


async def test_every_listener_hears_everything_in_order() -> None:
    events = Events()
    with events.subscribe() as first, events.subscribe() as second:
        told = [event(n) for n in range(5)]
        for one in told:
            events.publish(one)
        assert [await anext(first) for _ in told] == told
        assert [await anext(second) for _ in told] == told
    assert len(events) == 0


async def test_listening_begins_with_the_subscription() -> None:
    events = Events()
    events.publish(event(0))
    with events.subscribe() as listener:
        events.publish(event(1))
        assert await anext(listener) == event(1)


async def test_a_slow_listener_loses_the_oldest_and_nobody_else_does() -> None:
    events = Events()
    with events.subscribe(3) as slow, events.subscribe() as quick:
        for n in range(10):
            events.publish(event(n))
        assert slow.dropped == 7
        assert [await anext(slow) for _ in range(3)] == [event(7), event(8), event(9)]
        assert [await anext(quick) for _ in range(10)] == [event(n) for n in range(10)]
        assert quick.dropped == 0


async def test_a_listener_that_waits_is_woken_by_an_event_and_by_the_end() -> None:
    events = Events()
    task = asyncio.create_task(all_of(events.subscribe()))
    await asyncio.sleep(0)
    events.publish(event(1))
    for _ in range(3):
        await asyncio.sleep(0)
    events.close()
    assert await asyncio.wait_for(task, 1) == [event(1)]
    assert len(events) == 0


async def test_what_was_heard_before_the_end_is_not_heard_after_it() -> None:
    events = Events()
    listener = events.subscribe()
    events.close()
    events.publish(event(1))
    assert await all_of(listener) == []
    assert await all_of(events.subscribe()) == []


async def test_closing_twice_does_nothing() -> None:
    events = Events()
    listener = events.subscribe()
    listener.close()
    listener.close()
    events.close()
    assert await all_of(listener) == []


@pytest.mark.parametrize(
    ("told", "wire"),
    [
        (SpeakStarted("a", 1.28), {"type": "speak_started", "utterance": "a", "at": 1.28}),
        (
            SpeakEnded("a", 40.0, True),
            {"type": "speak_ended", "utterance": "a", "played_ms": 40.0, "interrupted": True},
        ),
        (Interrupted(12.5), {"type": "interrupted", "dropped_ms": 12.5}),
        (BufferCleared(0.0), {"type": "buffer_cleared", "dropped_ms": 0.0}),
        (SpeechStarted(2.0), {"type": "speech_started", "at": 2.0}),
        (SpeechStopped(3.0), {"type": "speech_stopped", "at": 3.0}),
    ],
)
def test_events_on_the_wire(told: Event, wire: dict[str, object]) -> None:
    assert told.as_json() == wire
    assert json.loads(json.dumps(told.as_json())) == wire
