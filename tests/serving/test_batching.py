"""What waits is answered together, short before long, and nobody waits for what is not wanted any more."""

import asyncio
import time
import weakref

import numpy as np
import pytest

from kfp_bert_components.serving import batching
from kfp_bert_components.serving.batching import Batcher, BusyError
from tests.support.tiny_engine import TinyEngine

LONG = "word " * 300


def instances(*texts):
    return [{"text": text} for text in texts]


@pytest.fixture
def batcher():
    batcher = Batcher()
    batcher.start()
    yield batcher
    batcher.stop()


def test_answers_come_to_whom_they_belong_in_the_order_of_the_texts(batcher):
    engine = TinyEngine(seconds=0.0001)

    async def ask(number):
        texts = [
            f"TEXT {number}" if (number + row) % 3 else f"text {number}" * (row + 1) for row in range(number % 7 + 1)
        ]
        answers = await batcher.submit(engine, instances(*texts))
        assert answers.labels == ["shout" if text.isupper() else "calm" for text in texts]
        np.testing.assert_array_equal(answers.scores, [0.75] * len(texts))

    async def all_together():
        await asyncio.gather(*(ask(number) for number in range(200)))

    asyncio.run(all_together())
    assert len(engine.calls) < 200  # several requests shared a call


def test_what_came_while_the_model_worked_is_the_next_call(batcher):
    engine = TinyEngine(seconds=0.0001)

    async def ask():
        first = batcher.submit(engine, instances("first"))
        while not engine.calls:
            await asyncio.sleep(0.0001)
        engine.seconds = 0.0
        await asyncio.gather(first, *(batcher.submit(engine, instances(f"text {n}")) for n in range(3)))

    asyncio.run(ask())
    engine.seconds = 0.0
    assert engine.calls[0] == ["first"]
    assert sorted(text for call in engine.calls[1:] for text in call) == ["text 0", "text 1", "text 2"]


def test_long_texts_hold_no_short_one_up(batcher):
    engine = TinyEngine(seconds=0.0001)
    done = []

    async def ask(name, *texts):
        await batcher.submit(engine, instances(*texts))
        done.append(name)

    async def both():
        await ask("warm", "a text")
        long = asyncio.ensure_future(ask("long", *[LONG] * 40))
        await asyncio.sleep(0.02)
        await ask("short", "a short one")
        await long

    asyncio.run(both())
    assert done == ["warm", "short", "long"]
    assert all(len({len(text) > 100 for text in call}) == 1 for call in engine.calls)


def test_a_long_request_is_not_held_up_for_ever(batcher):
    engine = TinyEngine(seconds=0.0005)
    done = []

    async def short_ones():
        while "long" not in done:
            await asyncio.gather(*(batcher.submit(engine, instances("short")) for _ in range(50)))

    async def long():
        await batcher.submit(engine, instances(*[LONG] * 4))
        done.append("long")

    async def both():
        await asyncio.wait_for(asyncio.gather(short_ones(), long()), 20)

    asyncio.run(both())
    assert done == ["long"]


def test_what_is_cancelled_is_not_given_to_the_model(batcher):
    engine = TinyEngine(seconds=0.01)

    async def ask():
        first = batcher.submit(engine, instances("a first one"))
        gone = batcher.submit(engine, instances("nobody waits"))
        gone.cancel()
        await first
        await batcher.submit(engine, instances("the last"))

    asyncio.run(ask())
    assert "nobody waits" not in [text for call in engine.calls for text in call]
    assert batcher.waiting() == 0


def test_too_much_is_refused_and_later_taken_again():
    batcher, engine = Batcher(wait_seconds=0.5), TinyEngine(seconds=0.01)
    batcher.start()

    async def ask():
        await batcher.submit(engine, instances("so that its speed is known"))
        taken = []
        with pytest.raises(BusyError, match=r"Send the request again later") as refused:
            for _ in range(100):
                taken.append(batcher.submit(engine, instances("A TEXT OF NINE TOKENS, ABOUT")))
        assert 0 < len(taken) < 20
        assert 0 < refused.value.seconds <= 0.6
        await asyncio.gather(*taken)
        alone = await batcher.submit(engine, instances(*["the only one is never refused"] * 20))
        assert len(alone.labels) == 20

    asyncio.run(ask())
    batcher.stop()


def test_a_large_request_is_taken_where_the_only_other_one_is_being_answered():
    batcher, engine = Batcher(wait_seconds=0.1), TinyEngine(seconds=0.02)
    batcher.start()

    async def ask():
        await batcher.submit(engine, instances("so that its speed is known"))
        first = batcher.submit(engine, instances("one that the model is asked for now"))
        while batcher.waiting():
            await asyncio.sleep(0.01)
        second = batcher.submit(engine, instances(*["nothing waits before these"] * 5))
        assert len((await first).labels) + len((await second).labels) == 6

    asyncio.run(ask())
    batcher.stop()


def test_a_text_that_fails_does_not_fail_the_requests_beside_it(batcher):
    engine = TinyEngine(seconds=0.001)

    async def ask():
        first = batcher.submit(engine, instances("first"))
        rest = [batcher.submit(engine, instances(text)) for text in ("good", "fail", "GOOD")]
        await first
        return await asyncio.gather(*rest, return_exceptions=True)

    good, failed, shout = asyncio.run(ask())
    assert (good.labels, shout.labels) == (["calm"], ["shout"])
    assert isinstance(failed, ValueError)


def test_a_large_request_that_is_the_first_of_all_holds_no_short_one_up(batcher):
    engine = TinyEngine(seconds=0.001)

    async def ask():
        large = batcher.submit(engine, instances(*[LONG] * 4))
        while not engine.calls:
            await asyncio.sleep(0.01)
        await batcher.submit(engine, instances("short"))
        assert not large.done()
        await large

    asyncio.run(ask())
    assert [call[0] == LONG for call in engine.calls] == [True, False, True, True, True]


def test_a_request_of_any_size_keeps_no_short_one_away_and_no_second_such_one_is_taken():
    batcher, engine = Batcher(wait_seconds=0.5), TinyEngine(seconds=0.001)
    batcher.start()

    async def ask():
        await batcher.submit(engine, instances("so that its speed is known"))
        large = batcher.submit(engine, instances(*[LONG] * 4))
        short = [batcher.submit(engine, instances("short")) for _ in range(20)]
        with pytest.raises(BusyError):
            batcher.submit(engine, instances(*[LONG] * 3))
        await asyncio.gather(*short)
        assert not large.done()
        assert len((await large).labels) == 4

    asyncio.run(ask())
    batcher.stop()


@pytest.mark.parametrize("rows", [1, 3])
def test_answers_that_are_too_few_or_too_many_fail_their_request_and_no_later_one(batcher, rows):
    class Wrong(TinyEngine):
        def answer(self, instances):
            return super().answer([*instances, *instances][:rows])

    async def ask():
        with pytest.raises(ValueError, match="to 2 texts"):
            await batcher.submit(Wrong(), instances("a", "b"))
        return await batcher.submit(TinyEngine(), instances("a", "b"))

    assert asyncio.run(asyncio.wait_for(ask(), 5)).labels == ["calm", "calm"]


def test_requests_of_two_models_share_no_call(batcher):
    old, new = TinyEngine(seconds=0.001), TinyEngine(number=2)

    async def ask():
        await asyncio.gather(
            *(batcher.submit(engine, instances(engine.version.fingerprint)) for engine in [old, new] * 9)
        )

    asyncio.run(ask())
    assert {text for call in old.calls for text in call} == {"print 1"}
    assert {text for call in new.calls for text in call} == {"print 2"}


def test_a_call_is_no_longer_than_for_the_longest_text(batcher):
    engine = TinyEngine()

    async def ask():
        await batcher.submit(engine, instances(*["A TEXT OF NINE TOKENS, ABOUT"] * 300))
        await batcher.submit(engine, instances(*[LONG] * 3))

    asyncio.run(ask())
    sizes = [sum(2 + len(text) // 4 for text in call) for call in engine.calls]
    assert max(sizes) <= batching.CALL_TOKENS
    assert [len(call) for call in engine.calls[:2]] == [56, 56]


def test_what_is_cut_off_a_text_counts_because_the_tokenizer_reads_it(batcher):
    engine = TinyEngine()

    async def ask():
        await batcher.submit(engine, instances(*["word " * 20_000] * 4))

    asyncio.run(ask())
    assert [len(call) for call in engine.calls] == [1, 1, 1, 1]


def test_a_model_that_has_answered_is_let_go(batcher):
    async def ask():
        engine = TinyEngine()
        await batcher.submit(engine, instances("the last request"))
        return weakref.ref(engine)

    old = asyncio.run(ask())
    for _ in range(100):
        if old() is None:
            return
        time.sleep(0.01)
    raise AssertionError("the model is still held")
