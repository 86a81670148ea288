"""The one kind of error that the course raises on purpose."""

import sys
import traceback
from contextlib import suppress


class CourseError(Exception):
    """Something the learner can mend: its message is one sentence with what is wrong and what to do."""

    def _render_traceback_(self) -> list[str]:
        """What IPython shows in the place of a traceback: the cell's line and the sentence (``%debug`` has the rest).

        The line has IPython's own form, ``Cell In[k], line n``, which the runner reads.
        """
        shown = [f"{type(self).__name__}: {self}"]
        with suppress(Exception):  # what IPython knows of its cells is its own affair
            name = sys.modules["IPython"].get_ipython().compile.format_code_name
            for frame, number in traceback.walk_tb(self.__traceback__):
                if label := name(frame.f_code.co_filename):
                    return [f"{' '.join(label)}, line {number}", *shown]
        return shown
