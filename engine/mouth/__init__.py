"""The trained mouth: features of the anchor's faces and the runtimes that draw lips on them."""
