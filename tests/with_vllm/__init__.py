"""Tests that run vLLM itself: a package, so that its conftest does not hide that of the other tests."""
