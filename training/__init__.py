"""How the built-in checkpoint is made: `python -m training` goes from nothing to a Z-Image folder.

Knows diffusers and transformers (their classes are what is trained) and nothing of the service.
"""
