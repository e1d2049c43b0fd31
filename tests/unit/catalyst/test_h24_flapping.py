"""H24: a node that comes and goes every 20 s, for a day, under the gateway's table and the rule of quarantine."""

from datetime import UTC, datetime, timedelta

import pytest
from gp4u_protocol.lease_core import LeaseId
from gp4u_server.catalyst.health.lease_table import LeaseTable, NodeState
from gp4u_server.nodes.duty import Quarantine, quarantine_after_loss
from gp4u_server.nodes.types import Duty

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
DAY_S = 86_400
PERIOD_S = 20


@pytest.mark.parametrize("away_s", [4, 12])
def test_h24_a_day_with_a_node_that_flaps_every_20_s_moves_its_job_three_times_at_most(away_s: int) -> None:
    table = LeaseTable()
    table.authority_renewed(1e12)
    noted_s, session_no, job_on, epoch, moves = 5.0, 0, "flapping", 1, 0
    losses: list[datetime] = []
    quarantine: Quarantine | None = None
    back, current = True, {"": ("", 0)}
    for second in range(DAY_S):
        now, at = float(second), BEGIN + timedelta(seconds=second)
        in_service = quarantine is None or at >= quarantine.until
        for node_id, here in (("flapping", second % PERIOD_S >= away_s), ("steady", True)):
            lease = LeaseId("p", epoch)
            held = [lease] if job_on == node_id else []
            if not here:
                back = True
                continue
            if (node_id == "flapping" and back) or table.session_no(node_id) is None:
                session_no += 1
                table.opened(
                    node_id, str(session_no), session_no, held, now, noted_s=noted_s, resumed=session_no > 2
                )
                current[node_id] = (str(session_no), second)
                back = back and node_id != "flapping"
            session, since = current[node_id]
            beat = second - since + 1
            table.beat(node_id, session, held, now, beat, beat - 1 or None)
        for note in table.notes_due(now):
            noted_s = note.ttl_s if note.node_id == "flapping" else noted_s
            table.noted(note)
        for change in table.tick(now + 0.5):
            if change.state is not NodeState.LOST:
                continue
            losses.append(at)
            found = quarantine_after_loss(
                Duty.IN_SERVICE if in_service else Duty.QUARANTINED,
                losses[-10:],
                0 if quarantine is None else quarantine.count,
                None if quarantine is None else quarantine.until,
                at,
            )
            quarantine = found or quarantine
            if change.node_id == job_on:
                moves, epoch = moves + 1, epoch + 1
                # The worst router: back to the cheap one whenever it is there and may take jobs.
                job_on = "steady"
    assert moves <= 3
    assert (moves == 0) == (away_s < 7), "a lease of fifteen seconds outlives the shorter pauses"
