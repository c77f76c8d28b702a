"""Models' files, on this disk or on the Hugging Face Hub; no tensor is read here."""

from playground.hub.files import MODEL_FILES, download, download_bytes, folder_on_disk, template_of
from playground.hub.model_cards import MARK, front_matter, written
from playground.hub.pushing import push
from playground.hub.sizes import DownloadSizes
from playground.hub.tensor_files import check_weights, weights_bytes

__all__ = [
    "MARK",
    "MODEL_FILES",
    "DownloadSizes",
    "check_weights",
    "download",
    "download_bytes",
    "folder_on_disk",
    "front_matter",
    "push",
    "template_of",
    "weights_bytes",
    "written",
]
