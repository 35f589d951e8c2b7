from derain.runtime.pipeline.deadline import Deadline


def test_without_experience_only_the_age_counts():
    deadline = Deadline(0.1)
    assert deadline.allows(0.1)
    assert not deadline.allows(0.11)


def test_the_expected_work_counts():
    deadline = Deadline(0.1)
    deadline.derained(0.06)
    deadline.written(0.03)
    assert deadline.allows(0.009)
    assert not deadline.allows(0.011)


def test_expectations_follow():
    deadline = Deadline(0.1)
    for seconds in [0.08] * 5 + [0.02] * 50:
        deadline.derained(seconds)
    assert deadline.allows(0.07)


def test_a_hopeless_expectation_is_tried_again():
    deadline = Deadline(0.1)
    deadline.derained(1.0)  # the first call of an engine
    refused = 0
    while not deadline.allows(0.01) and refused < 1000:
        refused += 1
    assert 10 < refused < 100
