"""Small synthetic archives in the forms of the packaged datasets.

What matters is that names, types, labels and oddities are those of the real archives; the organs
are mostly those of the AMOS22 phantom under other labels. Each tells what it planted.
"""

from __future__ import annotations

from phantoms.abdomenatlas import ATLAS_NAMES, write_abdomenatlas
from phantoms.abdomens import ABDOMENS, write_abdomens
from phantoms.brats import write_brats
from phantoms.ct_org import CT_ORG_NUMBERS, write_ct_org
from phantoms.decathlon import DECATHLON, TASKS, Task, write_decathlon
from phantoms.kits23 import write_kits23
from phantoms.nnunet import write_nnunet
from phantoms.planting import OtherArchive, OtherSample
from phantoms.totalsegmentator import TOTAL_NAMES, write_totalsegmentator

__all__ = [
    "ABDOMENS",
    "ATLAS_NAMES",
    "CT_ORG_NUMBERS",
    "DECATHLON",
    "TASKS",
    "TOTAL_NAMES",
    "OtherArchive",
    "OtherSample",
    "Task",
    "write_abdomenatlas",
    "write_abdomens",
    "write_brats",
    "write_ct_org",
    "write_decathlon",
    "write_kits23",
    "write_nnunet",
    "write_totalsegmentator",
]
