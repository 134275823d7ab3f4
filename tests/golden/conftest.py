"""`pytest tests/golden --golden` rewrites the golden files instead of comparing with them."""

from __future__ import annotations


def pytest_addoption(parser):
    parser.addoption("--golden", action="store_true", help="rewrite the golden files; review the diff")
