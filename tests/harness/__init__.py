"""What the black-box suites share: a real sid-server, its API, and a fake model. Standard library only."""
