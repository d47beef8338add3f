"""A reproducibility benchmark harness for few-shot learning."""

__version__ = "0.1.0"
