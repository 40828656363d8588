"""What the guides say is run as it stands."""
import os
import pathlib
import re
import subprocess

import dakiya


def test_first_mail_guide_works_as_written():
    directory = dakiya.new_directory("guide")
    text = (dakiya.TOP / "docs" / "first-mail.md").read_text()
    address = dakiya.new_address()
    script = "set -e\n"
    for kind, block in re.findall(r"^```sh( root)?\n(.*?)^```", text, re.M | re.S):
        if not kind or os.geteuid() == 0:
            script += block
    script = script.replace("/tmp/first", str(directory)).replace("127.0.25.3", address)
    script = script.replace("$PWD/build", str(dakiya.BUILD))
    stop = f"{dakiya.BUILD}/bin/dakiya -c {directory}/etc stop"
    try:
        result = subprocess.run(["bash", "-c", script], cwd=dakiya.TOP, text=True,
                                capture_output=True, timeout=120, check=False)
    finally:
        subprocess.run(stop.split(), capture_output=True, check=False)
        log = pathlib.Path(directory / "mail.log")
        logged = log.read_text() if log.exists() else ""
        dakiya.remove_directory(directory)
    assert result.returncode == 0, result.stdout + result.stderr + logged
    for wanted in ("Ok: queued as", "First mail.", "status=sent (delivered to maildir)",
                   "Mail queue is empty", f"inet_interfaces = {address}"):
        assert wanted in result.stdout, f"{wanted!r} is not in\n{result.stdout}{result.stderr}"
