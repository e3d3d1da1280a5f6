"""SIGTERM ends training at once where nothing would be gone on from, and elsewhere when the step is done."""

import os
import signal
import time

import pytest

from kfp_bert_components.training.preemption import Preempted, Sigterm


def tell_to_stop():
    os.kill(os.getpid(), signal.SIGTERM)


def test_it_ends_what_has_no_steps_at_once():
    started = time.monotonic()
    with pytest.raises(Preempted) as ended, Sigterm():
        tell_to_stop()
        time.sleep(30)
    assert time.monotonic() - started < 20
    assert ended.value.code == 143


def test_it_is_noted_while_steps_look_at_it_and_ends_what_follows():
    done = []
    with pytest.raises(Preempted), Sigterm() as sigterm:
        with sigterm.noted():
            tell_to_stop()
            done.append(sigterm.received)
        done.append("more")
    assert done == [True]


def test_a_second_one_does_not_disturb_the_end():
    with pytest.raises(Preempted), Sigterm():
        try:
            tell_to_stop()
        finally:
            tell_to_stop()
            time.sleep(0.1)


def test_afterwards_it_means_what_it_meant_before():
    before = signal.getsignal(signal.SIGTERM)
    with Sigterm():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before
