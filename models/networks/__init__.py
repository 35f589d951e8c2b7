"""One network a file; `derain.models.registry` is the table of them."""
