"""The index: the database and everything that knows SQL; must not know DICOM networking, HTTP or files of objects."""
