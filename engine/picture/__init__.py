"""Pictures: putting a drawn mouth back into the anchor's frame."""
