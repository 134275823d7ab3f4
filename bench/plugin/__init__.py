"""One registry for every kind of part: names, `name[key=value]`, presets, entry points, nearest names, cards."""
