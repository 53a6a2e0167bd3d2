"""The hospital's own feed, HL7 v2 over MLLP; must not know DICOM, nor decide what a fact means for retention."""
