"""The procedural captioned world: things, scenes, styles, captions, subjects and the tasks made of them."""
