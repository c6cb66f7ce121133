"""The model that a user holds: text in, answers out. One file for each kind of answer."""

from minibert.model.model import Model, load

__all__ = ["Model", "load"]
