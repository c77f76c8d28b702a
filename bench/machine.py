"""What a run is measured on, in the machine's own words."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

FEATURES = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8", "asimd", "bf16", "i8mm", "sve")
PACKAGES = ("torch", "transformers", "numba")


def num_threads() -> int:
    """How many cores this process may keep busy; every program is given as many threads."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe() -> dict[str, Any]:
    """The processor, its features that matter here, memory, versions, and how busy others keep it."""
    told = _cpu()
    has = set((told.get("flags") or told.get("Features") or "").split())
    return {
        "cpu": told.get("model name") or platform.processor() or platform.machine(),
        "cores": num_threads(),
        "features": [feature for feature in FEATURES if feature in has],
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "load_before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
    }


def _cpu() -> dict[str, str]:
    """The first core's lines, on Linux."""
    file = Path("/proc/cpuinfo")
    text = file.read_text().partition("\n\n")[0] if file.exists() else ""
    pairs = (line.partition(":") for line in text.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}
