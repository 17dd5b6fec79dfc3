from spectrum.plane.balancing.queues import OriginQueues, Waiter


def test_first_come_first_served_by_load_balancer():
    queues, waiting = OriginQueues(), Waiter(0.0, 1.0)
    assert not queues.waiting
    for balancer, name in (("a", 1), ("b", 2), ("a", 3)):
        queues.join(balancer, name, waiting)
    assert (queues.length("a"), queues.length("b"), queues.length("c")) == (2, 1, 0)
    assert queues.firsts() == [1, 2]
    assert (queues.first("a"), queues.waiting[3]) == ((1, waiting), "a")
    assert queues.leave(1) > 0
    assert queues.leave(1) is None
    assert queues.first("a") == (3, waiting)
    queues.leave(2)
    queues.leave(3)
    assert (bool(queues.waiting), queues.first("a"), queues.firsts()) == (False, None, [])
