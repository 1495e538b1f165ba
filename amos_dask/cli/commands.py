"""All commands, in the order in which ``--help`` lists them."""

from __future__ import annotations

from amos_dask.cli import cluster, dataset, steps, whole

ALL = (
    whole.download,
    whole.run,
    whole.verify,
    whole.demo,
    steps.archive_manifest,
    steps.confirm_pairs,
    steps.split_prostate_uterus,
    steps.binary_masks,
    steps.small_regions,
    steps.denoise,
    steps.restore,
    steps.dataset_manifest,
    steps.make_split,
    steps.index_manifests,
    dataset.leaks,
    dataset.stats,
    dataset.report,
    whole.phantom,
    dataset.export_group,
    cluster.cluster_group,
)
