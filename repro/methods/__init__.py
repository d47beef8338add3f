"""The rows of the table, one file each; :mod:`repro.rows` lists them, ``registry`` builds them."""
