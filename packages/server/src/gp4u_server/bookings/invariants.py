"""SQL that must return no rows, on any database at any instant."""

from collections.abc import Mapping

INVARIANTS: Mapping[str, str] = {
    "no_double_booking": """
        SELECT 'booking_devices ' || a.booking_id || ' ' || a.device_id AS row, 'overlaps ' || b.booking_id AS detail
        FROM booking_devices a JOIN booking_devices b
          ON b.device_id = a.device_id AND b.booking_id > a.booking_id AND a.during && b.during
        WHERE a.live AND b.live
    """,
    "ended_holds_no_device": """
        SELECT 'booking_devices ' || d.booking_id || ' ' || d.device_id AS row, 'is live, its booking is over' AS detail
        FROM booking_devices d JOIN bookings b ON b.id = d.booking_id WHERE d.live AND b.state = 'ended'
    """,
    "ended_is_settled": """
        SELECT 'bookings ' || b.id AS row, 'is over and its meter is not settled' AS detail
        FROM bookings b JOIN meters m ON m.booking_id = b.id WHERE b.state = 'ended' AND m.settled_at IS NULL
    """,
}
