"""One file a change of the tables, each spelling out every column; must not import anything of the product."""
