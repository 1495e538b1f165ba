"""Organised samples in the forms that training programs read: nnU-Net v2 and MONAI."""
