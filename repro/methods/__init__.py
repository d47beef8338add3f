"""The methods, one file each; ``papers.catalogue`` lists them, ``registry`` builds them."""
