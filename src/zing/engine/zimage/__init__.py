"""Z-Image in PyTorch: tensors only. It knows no task, no key, no money and no HTTP."""
