"""Component ``settings``: the whole form checked in seconds, before anything is fetched or trained."""

from typing import NamedTuple

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def settings(
    storage: str,
    data_repository: str,
    data_revision: str,
    models: list,
    prepare_parts: int,
    gpus: str,
    gpus_scoring: str,
    deploy_workers: int,
    ingest_kind: str,
    ingest_size: str,
    ingest_normalisation: str,
    ingest_healthy: str,
    ingest_val_fraction: float,
    ingest_test_fraction: float,
    ingest_folds: int,
    ingest_fold: int,
    ingest_seed: int,
    ingest_workers: int,
    ingest_skip_bad: bool,
    networks_gp_unet_width: str,
    networks_gp_unet_depth: str,
    networks_gp_shuffle_unet_width: str,
    networks_gp_shuffle_unet_depth: str,
    networks_gp_recon_resnet_width: str,
    networks_gp_recon_resnet_depth: str,
    train_recipe: str,
    train_seed: int,
    train_device: str,
    train_precision: str,
    train_compile: bool,
    train_epochs: str,
    train_batch_size: str,
    train_accumulate: str,
    train_optimizer: str,
    train_learning_rate: str,
    train_weight_decay: str,
    train_schedule: str,
    train_clip_value: str,
    train_clip_norm: str,
    train_loss: str,
    train_class_weights: str,
    train_ema: str,
    train_level: str,
    train_keep: str,
    train_patience: str,
    train_rotation: str,
    train_flip: str,
    train_scale: str,
    train_intensity: str,
    train_lose_contrasts: str,
    train_dropout: str,
    train_hide: str,
    train_views: str,
    train_norm: str,
    train_pooling: str,
    train_pool_region: str,
    train_pool_fraction: str,
    train_pool_k: str,
    train_pool_sharpness: str,
    train_guide: str,
    train_mirror: str,
    evaluate_bootstrap: int,
    evaluate_seed: int,
    evaluate_faithfulness_slices: int,
    evaluate_gallery: int,
    evaluate_workers: int,
    gate_rules: list,
    gate_champion: list,
) -> NamedTuple(
    "Settings", [("ingest", dict), ("networks", dict), ("train", dict), ("evaluate", dict), ("gate", dict)]
):
    """Check every value of the form and pass each group on to the stages that it is for."""
    form = dict(locals())
    from components.settings.check import check
    from components.settings.try_storage import try_storage
    from components.stage import stage

    with stage("settings", storage=storage):
        try_storage(storage)
        return check(form)
