"""The mouth's networks: blocks, generator, presets."""
