"""The pipeline: from a DVC revision to an endpoint that serves, or to the reasons why not."""

from __future__ import annotations

from typing import Any

from kfp import dsl

from components.archive.component import archive
from components.champion.component import champion
from components.deploy.component import deploy
from components.gate.component import gate
from components.ingest.component import ingest
from components.notify.component import notify
from components.pin.component import pin
from components.refuse.component import refuse
from components.settings.component import settings
from pipelines.candidates import candidates
from pipelines.form import checked_fields, with_form
from pipelines.preparation import preparation
from pipelines.resources import equip


@dsl.pipeline(name="glioscope", display_name="glioscope: explainable brain-tumour classifiers")
@with_form
def pipeline(form: dict[str, Any]) -> None:
    """Fetch versioned scans, train the networks side by side, evaluate, gate against the model in service, deploy.

    Research use only, not a medical device.
    """
    storage = form["storage"]
    told = equip(notify(storage=storage, pushgateway=form["notify_pushgateway"], ui=form["notify_ui"]))
    with dsl.ExitHandler(told, name="run"):
        checked = equip(settings(storage=storage, **{name: form[name] for name in checked_fields()}))
        pinned = equip(
            pin(
                source=form["data_repository"],
                revision=form["data_revision"],
                path=form["data_path"],
                storage=storage,
            ).after(checked)
        )
        scans = equip(ingest(pinned=pinned.output, parts=form["prepare_parts"], storage=storage))
        # Two pipelines of their own: inside a loop KFP's local runner cannot read outputs of the graph around it.
        prepared = preparation(
            data=scans.outputs["data"],
            shares=scans.outputs["Output"],
            parts=form["prepare_parts"],
            settings=checked.outputs["ingest"],
            pinned=pinned.output,
            storage=storage,
        )
        store, masks = prepared.outputs["store"], prepared.outputs["masks"]
        serving = equip(
            champion(
                store=store,
                masks=masks,
                management=form["deploy_management"],
                settings=checked.outputs["evaluate"],
                storage=storage,
            ),
            gpus=form["gpus_scoring"],
        )
        best = candidates(
            store=store,
            masks=masks,
            models=form["models"],
            train_settings=checked.outputs["train"],
            networks=checked.outputs["networks"],
            evaluate_settings=checked.outputs["evaluate"],
            storage=storage,
            pushgateway=form["notify_pushgateway"],
            gpus=form["gpus"],
            gpus_scoring=form["gpus_scoring"],
        )
        decided = equip(
            gate(
                selected=best.outputs["selected"],
                champion=serving.outputs["champion"],
                settings=checked.outputs["gate"],
                storage=storage,
            )
        )
        with dsl.If(decided.outputs["Output"] == True, name="passed"):  # noqa: E712 - KFP overloads the operator
            packed = equip(archive(selected=best.outputs["selected"], storage=storage))
            equip(
                deploy(
                    archive=packed.outputs["archive"],
                    management=form["deploy_management"],
                    inference=form["deploy_inference"],
                    workers=form["deploy_workers"],
                    champion=serving.outputs["Output"],
                    storage=storage,
                )
            )
        with dsl.Else(name="refused"):
            equip(refuse(decision=decided.outputs["decision"], storage=storage))
