"""The augmentation stage: what it does to pictures and boxes, and the contract that it must keep."""
