"""Models' files, on this disk or on the Hugging Face Hub; no tensor is read here."""

from playground.hub.adapters import HubAdapter, adapter_config_file, adapters_of
from playground.hub.files import MODEL_FILES, download, download_bytes, folder_on_disk, template_of
from playground.hub.sizes import DownloadSizes
from playground.hub.tensor_files import check_weights, loaded_bytes, weights_bytes

__all__ = [
    "MODEL_FILES",
    "DownloadSizes",
    "HubAdapter",
    "adapter_config_file",
    "adapters_of",
    "check_weights",
    "download",
    "download_bytes",
    "folder_on_disk",
    "loaded_bytes",
    "template_of",
    "weights_bytes",
]
