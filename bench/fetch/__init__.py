"""Downloads: a list of files whole or not at all (bundle), one file over HTTP (http), what can be had (sources)."""
