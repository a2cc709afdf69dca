//! What lies beside frames, as it is read: events of past days, players' lines, spikes, sessions. Not here: the questions
//! (`reader`).

use std::{collections::BTreeMap, sync::Arc};

use rusqlite::params;

use super::{
    lines,
    names::Names,
    packing, past,
    reader::{View, Which},
    samples,
    schema::HistoryError,
};
use crate::{
    history::{
        Detector, Severity, StoredFinding, StoredSpike,
        events::{Event, EventKind},
        rollup::Span,
        source::{StoredSession, TimeRange},
    },
    world::session::resources::Resources,
};

impl View<'_> {
    /// Events of past days.
    pub(super) fn past_events(
        &self,
        server: Option<u32>,
        range: TimeRange,
        names: &BTreeMap<u32, Arc<str>>,
    ) -> Result<Vec<Event>, HistoryError> {
        let mut events = Vec::new();
        let servers = names
            .iter()
            .filter(|(number, _)| server.is_none_or(|server| server == **number));
        for (number, name) in servers {
            let which = Which {
                tier: packing::EVENTS,
                server: *number,
                after_seq: 0,
                range,
            };
            self.each_block(which, &mut |data| {
                let rows = past::unpack_events(data)?.into_iter();
                for row in rows.filter(|row| range.contains(row.unix_ms)) {
                    // Of a newer gsmon, where it is none.
                    let Some(kind) = EventKind::ALL.get(usize::from(row.kind).wrapping_sub(1)) else {
                        continue;
                    };
                    events.push(Event {
                        server: name.clone(),
                        unix_ms: row.unix_ms,
                        kind: *kind,
                        word: self.names.dictionary.word(row.word),
                        times: row.times,
                    });
                }
                Ok(())
            })?;
        }
        Ok(events)
    }

    /// Players' lines of minutes that a time has anything of.
    pub(super) fn each_lines(
        &self,
        server: u32,
        range: TimeRange,
        take: &mut dyn FnMut(lines::LineRow),
    ) -> Result<(), HistoryError> {
        let mut some = |data: &[u8]| {
            let minute = |row: &lines::LineRow| {
                range.touches(row.from_unix_ms + 1, row.from_unix_ms + Span::Minute.ms())
            };
            let rows = lines::unpack_lines(data)?;
            rows.into_iter().filter(minute).for_each(&mut *take);
            Ok(())
        };
        let which = Which {
            tier: packing::LINES,
            server,
            after_seq: 0,
            range,
        };
        self.each_block(which, &mut some)?;
        let mut query = self
            .connection
            .prepare_cached(
                "SELECT data FROM line WHERE server = ?1 AND from_ms <= ?2 AND from_ms >= ?3 ORDER BY seq",
            )
            .map_err(self.sql())?;
        let from_ms = range.from_unix_ms.saturating_sub(Span::Minute.ms());
        let mut rows = query
            .query(params![server, range.to_unix_ms, from_ms])
            .map_err(self.sql())?;
        while let Some(row) = rows.next().map_err(self.sql())? {
            let data = row.get_ref(0).map_err(self.sql())?;
            let data = data.as_blob().map_err(|error| self.sql()(error.into()))?;
            some(data).map_err(HistoryError::block(self.path))?;
        }
        Ok(())
    }
}

/// Servers by number.
pub fn numbered(names: &Names) -> BTreeMap<u32, Arc<str>> {
    let servers = names.servers().iter();
    servers.map(|(name, number)| (*number, name.clone())).collect()
}

/// A spike; `None` where a figure rose that this gsmon does not know.
pub fn spike(
    row: &rusqlite::Row<'_>,
    servers: &BTreeMap<u32, Arc<str>>,
    names: &Names,
) -> rusqlite::Result<Option<StoredSpike>> {
    let Some(measure) = names.dictionary.measures.get(&row.get(2)?).copied() else {
        return Ok(None);
    };
    let (causes, not_measured): (String, String) = (row.get(7)?, row.get(8)?);
    let lasted_ms: i64 = row.get(3)?;
    // What cannot be read here `gsmon history check` names.
    Ok(Some(StoredSpike {
        server: servers.get(&row.get(0)?).cloned().unwrap_or_default(),
        unix_ms: row.get(1)?,
        measure,
        seconds: lasted_ms as f64 / 1e3,
        peak: row.get(4)?,
        usual: row.get(5)?,
        deviations: row.get(6)?,
        causes: serde_json::from_str(&causes).unwrap_or_default(),
        not_measured: serde_json::from_str(&not_measured).unwrap_or_default(),
    }))
}

/// A finding; `None` where a detector found it that this gsmon does not know.
pub fn finding(
    row: &rusqlite::Row<'_>,
    servers: &BTreeMap<u32, Arc<str>>,
) -> rusqlite::Result<Option<StoredFinding>> {
    let (detector, severity, evidence): (String, String, String) = (row.get(2)?, row.get(4)?, row.get(6)?);
    let (Some(detector), Some(severity)) = (Detector::named(&detector), Severity::named(&severity)) else {
        return Ok(None);
    };
    Ok(Some(StoredFinding {
        server: servers.get(&row.get(0)?).cloned().unwrap_or_default(),
        unix_ms: row.get(1)?,
        last_unix_ms: row.get(3)?,
        detector,
        severity,
        says: row.get(5)?,
        // What cannot be read here `gsmon history check` names.
        evidence: serde_json::from_str(&evidence).unwrap_or_default(),
    }))
}

/// A session.
pub fn session(
    row: &rusqlite::Row<'_>,
    servers: &BTreeMap<u32, Arc<str>>,
    names: &Names,
) -> rusqlite::Result<StoredSession> {
    let count = |name: &str| -> rusqlite::Result<Option<u64>> {
        let number: Option<i64> = row.get(name)?;
        Ok(number.and_then(|number| u64::try_from(number).ok()))
    };
    let used = Resources {
        cpu_ns: count("cpu_ns")?,
        run_queue_wait_ns: count("run_queue_wait_ns")?,
        rx_packets: count("rx_packets")?,
        rx_bytes: count("rx_bytes")?,
        tx_packets: count("tx_packets")?,
        tx_bytes: count("tx_bytes")?,
        minor_faults: count("minor_faults")?,
        major_faults: count("major_faults")?,
        disk_read_bytes: count("disk_read_bytes")?,
        disk_write_bytes: count("disk_write_bytes")?,
        read_calls: count("read_calls")?,
        write_calls: count("write_calls")?,
    };
    let basis: String = row.get("cpu_basis")?;
    Ok(StoredSession {
        server: servers.get(&row.get("server")?).cloned().unwrap_or_default(),
        id: row.get("id")?,
        external_id: row.get("external_id")?,
        room: row.get("room")?,
        map: names.dictionary.word(row.get("map")?),
        mode: names.dictionary.word(row.get("mode")?),
        phase: samples::phase_of(row.get("phase")?),
        begun_unix_ms: row.get("begun_ms")?,
        ended_unix_ms: row.get("ended_ms")?,
        players_peak: row.get("players_peak")?,
        joins: count("joins")?,
        leaves: count("leaves")?,
        cpu_basis: serde_json::from_value(serde_json::Value::String(basis)).ok(),
        used,
        peak_rss_bytes: count("peak_rss_bytes")?,
    })
}
