from spectrum.control.trouble import Trouble


def test_what_is_left_out_is_the_node_itself():
    trouble = Trouble("worker_deaf", "failed")
    assert (trouble.section, trouble.name, trouble.since, trouble.facts, trouble.apps) == ("", "", 0.0, {}, ())
