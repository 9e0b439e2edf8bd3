"""Stumbles of a new user's first hour that were mended, so that they stay mended."""

import subprocess
import sys

from optaxaccel import cli


def test_the_command_without_extras_says_what_to_install():
    hide = "import sys; sys.modules['tyro'] = None; import optaxaccel.cli"
    done = subprocess.run([sys.executable, "-c", hide], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "pip install 'optaxaccel[command]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_command_tells_its_version(capsys):
    assert cli.run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("optaxaccel 0.")
