"""Writes the commit that a wheel or sdist is built from into the package, for runs without a checkout around it."""

import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CommitHook(BuildHookInterface):
    """Adds sparsify/COMMIT to what is built from a checkout; a wheel from an sdist has that of the sdist."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called before the build."""
        root = Path(self.root)
        try:
            if Path(self._git("rev-parse", "--show-toplevel")) != root:
                return
            dirty = "-dirty" if self._git("status", "--porcelain", "--", "sparsify") else ""
            commit = self._git("rev-parse", "HEAD") + dirty
        except (OSError, subprocess.SubprocessError):
            return  # no git, or no checkout
        self._folder = tempfile.TemporaryDirectory()
        file = Path(self._folder.name) / "COMMIT"
        file.write_text(commit + "\n")
        build_data["force_include"][str(file)] = "sparsify/COMMIT"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Called after the build."""
        if hasattr(self, "_folder"):
            self._folder.cleanup()

    def _git(self, *arguments: str) -> str:
        command = ["git", "-C", self.root, *arguments]
        # git with arguments of our own, without a shell
        return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()  # nosec B603
