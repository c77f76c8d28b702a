"""Models' files, on this disk or on the Hugging Face Hub; no tensor is read here."""

from playground.hub.adapters import HubAdapter, adapter_config_file, adapters_of
from playground.hub.files import MODEL_FILES, download, download_bytes, folder_on_disk, template_of
from playground.hub.memory import dtype_of, memory_bytes
from playground.hub.model_cards import MARK, front_matter, written
from playground.hub.new_folder import require_new
from playground.hub.pushing import push, require_pushable
from playground.hub.sizes import DownloadSizes
from playground.hub.tensor_files import Tensor, check_weights, tensors_in, weights_bytes

__all__ = [
    "MARK",
    "MODEL_FILES",
    "DownloadSizes",
    "HubAdapter",
    "Tensor",
    "adapter_config_file",
    "adapters_of",
    "check_weights",
    "download",
    "download_bytes",
    "dtype_of",
    "folder_on_disk",
    "front_matter",
    "memory_bytes",
    "push",
    "require_new",
    "require_pushable",
    "template_of",
    "tensors_in",
    "weights_bytes",
    "written",
]
