"""The feed's rows that are in no hour's items, each with its reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from pipeline_assets.core.names import REJECTS
from pipeline_assets.core.rows import brought_up
from pipeline_assets.ingest.items import REJECTS_SCHEMA
from pipeline_assets.store.queries import queries
from pipeline_assets.store.tables import ROW_GROUP_ROWS, WHOLE

if TYPE_CHECKING:
    from pipeline_assets.feed.landing import Landed
    from pipeline_assets.resources import Resources

MADE_OF = "feed_rejects.made_of"
"""The version of the feed that the table was made of."""

REJECTED = """
    SELECT file, line, item_id, event_time, problem FROM (
        SELECT file, number, line, item_id, event_time,
            coalesce(problem, 'item_id or event_time is missing') AS problem
        FROM landed WHERE hour IS NULL AND NOT forgotten
        UNION ALL
        SELECT file, number, line, item_id, event_time,
            'event_time ' || strftime(event_time, '%Y-%m-%dT%H:%M:%SZ')
            || ' is before the first hour, ' || strftime($start, '%Y-%m-%dT%H:%M:%SZ')
            || ' (PIPELINE_START)'
        FROM landed WHERE event_time < $start AND hour IS NOT NULL AND NOT forgotten
        UNION ALL
        SELECT landed.file, landed.number, landed.line, landed.item_id, landed.event_time,
            'item_id \'\'' || landed.item_id || '\'\' is in line ' || latest.line || ' of '
            || latest.file || ' again, in the same hour: '
            || CASE WHEN (latest.file, latest.number) > (landed.file, landed.number)
                    THEN 'the last one counts' ELSE 'its time is later, and so it counts' END
        FROM landed JOIN latest USING (hour, item_id)
        WHERE (latest.file, latest.number) <> (landed.file, landed.number)
          AND landed.event_time >= $start AND NOT landed.forgotten
        UNION ALL
        SELECT file, 0, NULL, NULL, NULL, 'the file is not read: ' || problem FROM unread
    ) ORDER BY file, number
"""


def materialize_rejects(resources: Resources) -> None:
    """Publish the table of rejects; one that was made of this very feed stays.

    Raises `FeedError` where no file of the feed can be read.
    """
    landed = resources.feed.landed()
    tables, state, start = resources.tables, resources.state, resources.settings.start
    made_of = f"{landed.version}.{start.isoformat()}"
    if tables.exists(REJECTS, WHOLE) and state.fact(MADE_OF) == made_of:
        return
    with (
        queries(resources.storage, resources.work) as connection,
        tables.writer(REJECTS, WHOLE, REJECTS_SCHEMA, lambda _table: None) as writer,
    ):
        landed.show(connection)
        connection.register("unread", _unread(landed))
        rows = connection.sql(REJECTED, params={"start": start})
        for batch in rows.to_arrow_reader(ROW_GROUP_ROWS):
            writer.write(brought_up(pa.Table.from_batches([batch]), REJECTS_SCHEMA))
        writer.publish()
    state.remember(MADE_OF, made_of)


def _unread(landed: Landed) -> pa.Table:
    problems = {each.file: each.problem for each in landed.files if each.problem is not None}
    return pa.table(
        {
            "file": pa.array(problems.keys(), pa.string()),
            "problem": pa.array(problems.values(), pa.string()),
        }
    )
