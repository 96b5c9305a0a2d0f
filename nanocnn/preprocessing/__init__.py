"""Images of scripts for old Keras: `preprocessing.image.ImageDataGenerator`."""

from ..common.names import names_of
from . import image as image

__getattr__ = names_of(__name__)
