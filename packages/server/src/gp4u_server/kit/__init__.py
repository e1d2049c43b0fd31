"""The bottom layer: clock, ids, money, errors, paging, database base. No tables, no framework."""
