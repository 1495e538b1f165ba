"""From records to pandas frames to Excel workbooks, and back."""
