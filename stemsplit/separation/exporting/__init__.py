"""Verify bundles, and write networks as ONNX models."""
