"""Histories of a release's workflows: what they are of, and their recording on the real stack.

A scenario (`scenario.py`) plays one story and writes the histories of the workflows in it; it says
which features it has. `python -m tools.histories DIRECTORY` plays all of them. Every later release
replays the histories: code that would take another way through one of them would break the
executions that are open while it is deployed.
"""
