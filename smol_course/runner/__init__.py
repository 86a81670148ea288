"""Run, build, study and check the course's notebooks; the command line is a thin layer over this.

It knows notebooks as cells with tags and outputs, and nothing of models or data (`doctor` asks how they are).
"""

from smol_course.runner.building import build
from smol_course.runner.checking import check
from smol_course.runner.running import run
from smol_course.runner.sources import Notebook, modules, notebooks
from smol_course.runner.staleness import sources_sha256, stale
from smol_course.runner.studying import study
from smol_course.runner.text import refresh_text

__all__ = ["Notebook", "build", "check", "modules", "notebooks", "run", "study"]
__all__ += ["refresh_text", "sources_sha256", "stale"]
