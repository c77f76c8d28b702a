"""Every test's disk is its own, nothing calls home, and no real Hub is asked."""

from __future__ import annotations

import os
import tempfile

# Read when the libraries are imported, so before any test module is.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["HF_HUB_DISABLE_XET"] = "1"
# Nobody listens on the discard port: whoever asks the Hub is refused at once.
os.environ["HF_ENDPOINT"] = "http://127.0.0.1:9"
os.environ["HF_HOME"] = tempfile.mkdtemp(prefix="playground-tests-")
os.environ["PLAYGROUND_HOME"] = os.environ["HF_HOME"]
