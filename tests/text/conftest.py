"""Fixtures of tiny models, shared by the tests of the API."""

from __future__ import annotations

from tests.tiny import *  # noqa: F403
