"""Models' files, on this disk or on the Hugging Face Hub; no tensor is read here."""

from playground.hub.adapters import HubAdapter, adapter_config_file, adapters_of
from playground.hub.files import MODEL_FILES, download, download_bytes, folder_on_disk, template_of
from playground.hub.model_cards import MARK, front_matter, written
from playground.hub.pushing import push
from playground.hub.sizes import DownloadSizes
from playground.hub.tensor_files import check_weights, loaded_bytes, weights_bytes

__all__ = [
    "MARK",
    "MODEL_FILES",
    "DownloadSizes",
    "HubAdapter",
    "adapter_config_file",
    "adapters_of",
    "check_weights",
    "download",
    "download_bytes",
    "folder_on_disk",
    "front_matter",
    "loaded_bytes",
    "push",
    "template_of",
    "weights_bytes",
    "written",
]
