"""Data-parallel training: the processes of a run, and the reductions in a program."""

from .group import ProcessGroup, ProcessLost, process_group
from .reductions import data_parallel

__all__ = ["ProcessGroup", "ProcessLost", "data_parallel", "process_group"]
