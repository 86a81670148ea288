"""The one kind of error that the course raises on purpose."""


class CourseError(Exception):
    """Something the learner can mend: its message is one sentence with what is wrong and what to do."""
