"""Kedro pipelines: one folder per stage, with thin nodes over the domain packages."""
