"""Other systems' documents, compiled to what execd runs. Pure."""
