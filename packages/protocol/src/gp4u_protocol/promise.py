"""What a job gets when its node dies, and why not more: said when it is submitted, not at the loss. Pure; one text for all."""

from enum import StrEnum

from pydantic import Field

from gp4u_protocol.job_spec import CheckpointSource, JobSpec, OnNodeLoss, Protection, Strict

_IF = "If its node dies, "


class Saved(StrEnum):
    """What of a job outlives its node."""

    NOTHING = "nothing"  # it does not go on
    FOLDER = "folder"  # it begins again with its checkpoint folder
    WHOLE = "whole"  # it goes on where its memory stood
    WHOLE_OR_FOLDER = "whole_or_folder"  # the one or the other, by the node it gets


class Promise(Strict):
    """What becomes of a job when its node dies."""

    saved: Saved
    says: str = Field(description="a sentence for the renter")
    why_not_more: str | None = Field(
        default=None, description="what stands in the way of more; null: nothing"
    )
    standby: str | None = Field(
        default=None, description="of a hot job: what the second node is for; null: none stands by"
    )


def promise_of(
    spec: JobSpec, whole_here: bool | None = None, *, standby_ready: bool | None = None
) -> Promise:
    """The promise to this job. `whole_here`: whether the node it is on saves it whole; None: it is on none yet.
    `standby_ready`: whether the second node of a hot job is ready now; None: it is not known yet."""
    promise = _promise_of(spec, whole_here)
    if spec.protection is not Protection.HOT:
        return promise
    return promise.model_copy(update={"standby": _STANDBY[standby_ready]})


_STANDBY = {
    None: "A second node keeps its newest checkpoint and its start at hand and takes over first, without a download. "
    "It is paid for only while it is ready; with none ready the job goes on like any other.",
    True: "A second node is ready now: it holds the newest checkpoint and takes over first, without a download.",
    False: "No second node is ready at the moment, and none is paid for: until one is, the job goes on like any other.",
}


def _promise_of(spec: JobSpec, whole_here: bool | None) -> Promise:
    if spec.protection is Protection.NONE:
        says = f"If its node dies, the job ends. What was last saved of “{spec.checkpoint.path}” stays yours."
        return Promise(saved=Saved.NOTHING, says=says, why_not_more="Its protection is none.")
    if spec.failover.on_node_loss is OnNodeLoss.STOP:
        says = f"If its node dies, the job is stopped. What was last saved of “{spec.checkpoint.path}” stays yours."
        return Promise(saved=Saved.NOTHING, says=says, why_not_more="Its failover.on_node_loss is stop.")
    where = "on another one" if spec.failover.on_node_loss is OnNodeLoss.MOVE else "once that node is back"
    every = (
        "as often as its node's risk advises"
        if spec.checkpoint.auto
        else f"every {spec.checkpoint.every_s} s"
    )
    folder = (
        f"it begins again {where} with its folder “{spec.checkpoint.path}” as last saved ({every}, and when the job asks); "
        "what it had in memory only is lost."
    )
    whole = (
        f"it continues {where} in the middle of what it did, memory and all, as last saved ({every}); "
        "what it did since then, it does again."
    )
    source = spec.checkpoint.source
    hindrance = whole_hindrance(spec)
    if source is CheckpointSource.APPLICATION or hindrance is not None:
        advice = "checkpoint.source: auto saves the whole job on nodes that can."
        return Promise(saved=Saved.FOLDER, says=f"{_IF}{folder}", why_not_more=hindrance or advice)
    if source is CheckpointSource.TRANSPARENT:
        says = (
            f"{whole} It runs only on nodes that proved this; with no compatible one free it waits, unbilled."
        )
        return Promise(saved=Saved.WHOLE, says=says)
    if whole_here is None:
        says = f"If a node that saves it whole dies, {whole} If any other dies, {folder}"
        return Promise(
            saved=Saved.WHOLE_OR_FOLDER,
            says=says,
            why_not_more="It takes any node that fits; checkpoint.source: transparent takes only those that can.",
        )
    if whole_here:
        says = f"{_IF}{whole} With no compatible node free, it begins again with “{spec.checkpoint.path}” instead."
        return Promise(saved=Saved.WHOLE, says=says)
    return Promise(
        saved=Saved.FOLDER,
        says=f"{_IF}{folder}",
        why_not_more="The node it is on cannot save whole jobs, or not this one's dump.",
    )


def whole_hindrance(spec: JobSpec) -> str | None:
    """Why a job cannot be saved whole on any node, whatever its source says."""
    if spec.resources.network:
        return "A job with a network cannot be saved whole: its connections would not come back."
    return None
