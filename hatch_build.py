"""What a wheel carries beside the package: the modules' lessons and the results of their studies.

In the repository each lies in its module, and nowhere else. `smol_course.settings.course_files` finds them there, and
in an installed package under ``smol_course/modules/``, by the same paths.
"""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

CARRIED = ("[0-9]*_*/*.md", "[0-9]*_*/studies/*.json")


class Carry(BuildHookInterface):
    """Adds these files to a wheel. An editable install reads them in the repository."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Name the files, and their places in the wheel. Raises FileNotFoundError where there are none."""
        if version == "editable":
            return
        root = Path(self.root)
        for pattern in CARRIED:
            files = sorted(root.glob(pattern))
            if not files:
                raise FileNotFoundError(f"no {pattern} in {root}: a wheel is built from the whole repository")
            places = {str(file): f"smol_course/modules/{file.relative_to(root).as_posix()}" for file in files}
            build_data["force_include"].update(places)
