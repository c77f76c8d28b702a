"""Which stepper a model runs on: the fast one where there is a CPU, a plan and compiled kernels, else the reference.

Knows models and what the kernels need; nothing of rows or requests.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch

from playground.local.decoding import Stepper
from playground.local.torch_step import TorchStepper

log = logging.getLogger(__name__)


class Steppers:
    """Makes the steppers of one process. `folder` is where the kernels' compiled code may be kept; without `kernels`
    all models run on the reference. `num_threads` is as many as there are cores by default; `read_prompts` says whether
    the kernels take in prompts too, by default where torch is slower at that."""

    def __init__(
        self,
        *,
        kernels: bool,
        folder: Path | None = None,
        num_threads: int | None = None,
        read_prompts: bool | None = None,
    ) -> None:
        self._kernels, self._num_threads = None, num_threads or num_cores(torch.get_num_threads())
        self._read_prompts = read_prompts
        if kernels:
            try:
                from playground.local.cpu_step.kernels import Kernels
            except ImportError as error:
                log.warning("numba cannot be imported, so the reference stepper answers: %s", error)
                return
            self._kernels = Kernels(folder)
            if not torch.cuda.is_available():
                # Behind the page that comes up; where there is a GPU, only a model that stays on the CPU needs them.
                self._kernels.begin()

    def wait(self, timeout_s: float) -> bool:
        """Waits until the kernels are compiled; whether they are."""
        return self._kernels is not None and self._kernels.wait(timeout_s)

    def for_model(self, model: Any) -> Stepper:
        """The stepper of one module tree."""
        reference = TorchStepper(model)
        if self._kernels is None or model.device.type != "cpu":
            return reference
        from playground.local.cpu_step.assembly import multiplies_bfloat16
        from playground.local.cpu_step.families import plan_of
        from playground.local.cpu_step.plan import NotPlannable
        from playground.local.cpu_step.stepper import CpuStepper

        try:
            plan = plan_of(model)
        except NotPlannable as reason:
            log.info("%s runs on the reference stepper: %s", type(model).__name__, reason)
            return reference
        self._kernels.begin()
        reads_prompts = self._read_prompts
        if reads_prompts is None:
            reads_prompts = model.dtype == torch.bfloat16 and not multiplies_bfloat16()
        return CpuStepper(plan, self._kernels, reference, self._num_threads, reads_prompts=reads_prompts)


def num_cores(threads: int, quota: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Of `threads`, as many as a container may keep busy: threads beyond its share only wait for one another."""
    try:
        most, period = quota.read_text().split()
        return max(1, min(threads, int(most) // int(period)))
    except (OSError, ValueError):
        # No such limit, or the word max.
        return threads
