"""The Makefile's targets are names of what to do, whatever files lie beside it."""

import re
from pathlib import Path


def test_every_target_that_help_names_is_phony():
    text = (Path(__file__).parents[1] / "Makefile").read_text().replace("\\\n", "")
    phony = re.search(r"^\.PHONY:(.*)$", text, re.MULTILINE).group(1).split()
    targets = re.findall(r"^([a-z-]+):.*##", text, re.MULTILINE)
    assert len(targets) > 10
    assert set(targets) == set(phony)
