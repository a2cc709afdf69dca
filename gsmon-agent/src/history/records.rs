//! Spikes, players' lines, events and sessions for other programs: CSV and Parquet with a column per field, empty where
//! something is not known. Not here: frames (`export`), which rows.

use std::{io::Write, sync::Arc};

use parquet::{
    basic::{Compression, ConvertedType, Repetition, Type as Physical},
    data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type},
    errors::ParquetError,
    file::{properties::WriterProperties, writer::SerializedFileWriter},
    schema::types::Type,
};

use super::{
    events::Event,
    export::{ExportError, present},
    lines::StoredLine,
    source::StoredSession,
    spikes::StoredSpike,
};
use crate::world::session::phase;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Text,
    /// A whole number.
    Whole,
    /// Milliseconds since the Unix epoch.
    Time,
    /// A number.
    Real,
}

/// One value; `None` is "not known".
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// Of a column of text.
    Text(Option<String>),
    /// Of a column of whole numbers or times; none here is beyond 2^63.
    Whole(Option<i64>),
    /// Of a column of numbers.
    Real(Option<f64>),
}

impl Cell {
    fn text(text: impl Into<String>) -> Self {
        Self::Text(Some(text.into()))
    }

    fn word(word: Option<&Arc<str>>) -> Self {
        Self::Text(word.map(|word| word.to_string()))
    }

    fn count(count: Option<u64>) -> Self {
        Self::Whole(count.map(|count| i64::try_from(count).unwrap_or(i64::MAX)))
    }

    /// As short as it tells the value that was kept.
    fn figure(value: Option<f32>) -> Self {
        Self::Real(value.and_then(|value| value.to_string().parse().ok()))
    }

    fn csv(&self) -> String {
        match self {
            Self::Text(text) => text.clone().unwrap_or_default(),
            Self::Whole(whole) => whole.map_or_else(String::new, |whole| whole.to_string()),
            Self::Real(real) => real.map_or_else(String::new, |real| real.to_string()),
        }
    }
}

/// Something that is a row.
pub trait Record {
    /// Its columns.
    const COLUMNS: &'static [(&'static str, Kind)];

    /// Its values, one for each column and of its kind.
    fn cells(&self) -> Vec<Cell>;
}

/// The word that JSON has for a value.
fn word_of(value: &impl serde::Serialize) -> Cell {
    let json = serde_json::to_value(value).ok();
    Cell::Text(json.and_then(|json| json.as_str().map(str::to_owned)))
}

impl Record for StoredSpike {
    const COLUMNS: &'static [(&'static str, Kind)] = &[
        ("server", Kind::Text),
        ("unix_ms", Kind::Time),
        ("measure", Kind::Text),
        ("seconds", Kind::Real),
        ("peak", Kind::Real),
        ("usual", Kind::Real),
        ("deviations", Kind::Real),
        ("cause", Kind::Text),
        ("cause_p_value", Kind::Real),
        ("causes_json", Kind::Text),
        ("not_measured_json", Kind::Text),
    ];

    fn cells(&self) -> Vec<Cell> {
        let first = self.causes.first();
        vec![
            Cell::text(&*self.server),
            Cell::Whole(Some(self.unix_ms)),
            Cell::text(self.measure.name()),
            Cell::Real(Some(self.seconds)),
            Cell::Real(Some(self.peak)),
            Cell::Real(Some(self.usual)),
            Cell::Real(Some(self.deviations)),
            Cell::word(first.map(|cause| &cause.cause)),
            Cell::Real(first.map(|cause| cause.p_value)),
            Cell::Text(serde_json::to_string(&self.causes).ok()),
            Cell::Text(serde_json::to_string(&self.not_measured).ok()),
        ]
    }
}

impl Record for StoredLine {
    const COLUMNS: &'static [(&'static str, Kind)] = &[
        ("server", Kind::Text),
        ("from_unix_ms", Kind::Time),
        ("player", Kind::Text),
        ("region", Kind::Text),
        ("rtt_p50_ms", Kind::Real),
        ("rtt_p95_ms", Kind::Real),
        ("jitter_ms", Kind::Real),
        ("loss_up_ratio", Kind::Real),
        ("loss_down_ratio", Kind::Real),
    ];

    fn cells(&self) -> Vec<Cell> {
        vec![
            Cell::text(&*self.server),
            Cell::Whole(Some(self.from_unix_ms)),
            Cell::text(self.player.to_string()),
            Cell::word(self.region.as_ref()),
            Cell::figure(self.rtt_p50_ms),
            Cell::figure(self.rtt_p95_ms),
            Cell::figure(self.jitter_ms),
            Cell::figure(self.loss_up_ratio),
            Cell::figure(self.loss_down_ratio),
        ]
    }
}

impl Record for Event {
    const COLUMNS: &'static [(&'static str, Kind)] = &[
        ("server", Kind::Text),
        ("unix_ms", Kind::Time),
        ("kind", Kind::Text),
        ("word", Kind::Text),
        ("times", Kind::Whole),
    ];

    fn cells(&self) -> Vec<Cell> {
        vec![
            Cell::text(&*self.server),
            Cell::Whole(Some(self.unix_ms)),
            word_of(&self.kind),
            Cell::word(self.word.as_ref()),
            Cell::count(Some(u64::from(self.times))),
        ]
    }
}

impl Record for StoredSession {
    const COLUMNS: &'static [(&'static str, Kind)] = &[
        ("server", Kind::Text),
        ("id", Kind::Text),
        ("external_id", Kind::Text),
        ("room", Kind::Text),
        ("map", Kind::Text),
        ("mode", Kind::Text),
        ("phase", Kind::Text),
        ("begun_unix_ms", Kind::Time),
        ("ended_unix_ms", Kind::Time),
        ("players_peak", Kind::Whole),
        ("joins", Kind::Whole),
        ("leaves", Kind::Whole),
        ("cpu_basis", Kind::Text),
        ("cpu_ns", Kind::Whole),
        ("rx_bytes", Kind::Whole),
        ("tx_bytes", Kind::Whole),
        ("disk_read_bytes", Kind::Whole),
        ("disk_write_bytes", Kind::Whole),
        ("peak_rss_bytes", Kind::Whole),
    ];

    fn cells(&self) -> Vec<Cell> {
        let used = &self.used;
        vec![
            Cell::text(&*self.server),
            Cell::text(self.id.clone()),
            Cell::Text(self.external_id.clone()),
            Cell::Text(self.room.clone()),
            Cell::word(self.map.as_ref()),
            Cell::word(self.mode.as_ref()),
            Cell::Text(self.phase.map(|told| phase::name(told).to_owned())),
            Cell::Whole(Some(self.begun_unix_ms)),
            Cell::Whole(self.ended_unix_ms),
            Cell::count(Some(u64::from(self.players_peak))),
            Cell::count(self.joins),
            Cell::count(self.leaves),
            self.cpu_basis.as_ref().map_or(Cell::Text(None), word_of),
            Cell::count(used.cpu_ns),
            Cell::count(used.rx_bytes),
            Cell::count(used.tx_bytes),
            Cell::count(used.disk_read_bytes),
            Cell::count(used.disk_write_bytes),
            Cell::count(self.peak_rss_bytes),
        ]
    }
}

/// Writes rows as CSV with a header; says how many.
///
/// # Errors
/// When they cannot be written.
pub fn write_csv<R: Record>(out: impl Write, records: &[R]) -> Result<u64, ExportError> {
    let mut writer = csv::Writer::from_writer(out);
    writer.write_record(R::COLUMNS.iter().map(|(name, _)| *name))?;
    for record in records {
        writer.write_record(record.cells().iter().map(Cell::csv))?;
    }
    writer.flush()?;
    Ok(records.len() as u64)
}

fn schema(columns: &[(&str, Kind)]) -> Result<Arc<Type>, ParquetError> {
    let column = |(name, kind): &(&str, Kind)| {
        let (physical, converted) = match kind {
            Kind::Text => (Physical::BYTE_ARRAY, ConvertedType::UTF8),
            Kind::Whole => (Physical::INT64, ConvertedType::NONE),
            Kind::Time => (Physical::INT64, ConvertedType::TIMESTAMP_MILLIS),
            Kind::Real => (Physical::DOUBLE, ConvertedType::NONE),
        };
        Type::primitive_type_builder(name, physical)
            .with_converted_type(converted)
            .with_repetition(Repetition::OPTIONAL)
            .build()
            .map(Arc::new)
    };
    let columns = columns.iter().map(column).collect::<Result<_, _>>()?;
    Type::group_type_builder("rows")
        .with_fields(columns)
        .build()
        .map(Arc::new)
}

/// Rows of one row group.
const ROW_GROUP: usize = 32_768;

/// Writes rows as Parquet, compressed with Snappy; says how many.
///
/// # Errors
/// When they cannot be written.
pub fn write_parquet<R: Record>(out: impl Write + Send, records: &[R]) -> Result<u64, ExportError> {
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .build();
    let mut writer = SerializedFileWriter::new(out, schema(R::COLUMNS)?, Arc::new(properties))?;
    for some in records.chunks(ROW_GROUP) {
        let rows: Vec<Vec<Cell>> = some.iter().map(Record::cells).collect();
        let mut group = writer.next_row_group()?;
        for (index, (_, kind)) in R::COLUMNS.iter().enumerate() {
            let Some(mut column) = group.next_column()? else {
                break;
            };
            let cells = || rows.iter().filter_map(|row| row.get(index));
            match kind {
                Kind::Text => {
                    let texts = cells().map(|cell| match cell {
                        Cell::Text(text) => text.as_deref().map(ByteArray::from),
                        _ => None,
                    });
                    let (values, levels) = present(texts);
                    let column = column.typed::<ByteArrayType>();
                    column.write_batch(&values, Some(&levels), None)?;
                }
                Kind::Whole | Kind::Time => {
                    let numbers = cells().map(|cell| match cell {
                        Cell::Whole(whole) => *whole,
                        _ => None,
                    });
                    let (values, levels) = present(numbers);
                    let column = column.typed::<Int64Type>();
                    column.write_batch(&values, Some(&levels), None)?;
                }
                Kind::Real => {
                    let numbers = cells().map(|cell| match cell {
                        Cell::Real(real) => *real,
                        _ => None,
                    });
                    let (values, levels) = present(numbers);
                    let column = column.typed::<DoubleType>();
                    column.write_batch(&values, Some(&levels), None)?;
                }
            }
            column.close()?;
        }
        group.close()?;
    }
    writer.close()?;
    Ok(records.len() as u64)
}

#[cfg(test)]
mod tests {
    use parquet::{
        file::reader::{FileReader, SerializedFileReader},
        record::Field,
    };

    use super::*;
    use crate::{
        history::{Measure, StoredCause},
        privacy::Pseudonym,
    };

    fn spikes() -> Vec<StoredSpike> {
        let cause = StoredCause {
            cause: "joins".into(),
            measure: Measure::Joins,
            value: 6.0,
            usual: 0.0,
            usual_range: (0.0, 1.0),
            p_value: 0.001,
            lead_seconds: 1.0,
            observations: 300,
        };
        let spike = StoredSpike {
            server: "a, \"b\"".into(),
            unix_ms: 1_700_000_000_000,
            measure: Measure::TickP99Ms,
            seconds: 2.0,
            peak: 90.5,
            usual: 10.0,
            deviations: 12.0,
            causes: vec![cause],
            not_measured: vec!["steal".into()],
        };
        let unexplained = StoredSpike {
            causes: Vec::new(),
            ..spike.clone()
        };
        vec![spike, unexplained]
    }

    fn lines() -> Vec<StoredLine> {
        vec![StoredLine {
            server: "arena".into(),
            from_unix_ms: 1_700_000_040_000,
            player: Pseudonym::from_bytes([7; 13]),
            also: [Some(Pseudonym::from_bytes([8; 13])), None],
            region: None,
            rtt_p50_ms: Some(40.1),
            rtt_p95_ms: None,
            jitter_ms: Some(2.5),
            loss_up_ratio: Some(0.0),
            loss_down_ratio: None,
        }]
    }

    #[test]
    fn csv_has_a_header_and_leaves_out_what_is_not_known() {
        let mut out = Vec::new();
        assert_eq!(write_csv(&mut out, &spikes()).unwrap(), 2);
        let mut reader = csv::Reader::from_reader(out.as_slice());
        let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
        assert_eq!(
            (&rows[0][0], &rows[0][2], &rows[0][4]),
            ("a, \"b\"", "tick_p99_ms", "90.5")
        );
        assert_eq!((&rows[0][7], &rows[0][8], &rows[1][7]), ("joins", "0.001", ""));
        let causes: Vec<StoredCause> = serde_json::from_str(&rows[0][9]).unwrap();
        assert_eq!(causes, spikes()[0].causes);
        let mut out = Vec::new();
        write_csv(&mut out, &lines()).unwrap();
        let text = String::from_utf8(out).unwrap();
        let player = lines()[0].player.to_string();
        assert_eq!(
            text.lines().nth(1).unwrap(),
            format!("arena,1700000040000,{player},,40.1,,2.5,0,")
        );
    }

    #[test]
    fn parquet_is_read_again_by_its_columns() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let many: Vec<StoredLine> = lines().into_iter().cycle().take(ROW_GROUP + 3).collect();
        write_parquet(file.reopen().unwrap(), &many).unwrap();
        let reader = SerializedFileReader::new(file.reopen().unwrap()).unwrap();
        assert_eq!(reader.num_row_groups(), 2);
        let row = reader.get_row_iter(None).unwrap().next().unwrap().unwrap();
        let told: std::collections::HashMap<String, Field> = row.into_columns().into_iter().collect();
        assert_eq!(told["from_unix_ms"], Field::TimestampMillis(1_700_000_040_000));
        assert_eq!(told["rtt_p50_ms"], Field::Double(40.1));
        assert_eq!(
            (&told["rtt_p95_ms"], &told["region"]),
            (&Field::Null, &Field::Null)
        );
        let file = tempfile::NamedTempFile::new().unwrap();
        write_parquet(file.reopen().unwrap(), &spikes()).unwrap();
        let reader = SerializedFileReader::new(file.reopen().unwrap()).unwrap();
        assert_eq!(reader.metadata().file_metadata().num_rows(), 2);
    }

    #[test]
    fn every_record_has_a_value_of_its_kind_for_each_column() {
        fn fits<R: Record>(record: &R) {
            let cells = record.cells();
            assert_eq!(cells.len(), R::COLUMNS.len());
            for (cell, (name, kind)) in cells.iter().zip(R::COLUMNS) {
                let right = match cell {
                    Cell::Text(_) => *kind == Kind::Text,
                    Cell::Whole(_) => matches!(kind, Kind::Whole | Kind::Time),
                    Cell::Real(_) => *kind == Kind::Real,
                };
                assert!(right, "{name}");
            }
        }
        fits(&spikes()[0]);
        fits(&lines()[0]);
        fits(&Event {
            server: "arena".into(),
            unix_ms: 1,
            kind: crate::history::events::EventKind::Join,
            word: None,
            times: 2,
        });
        fits(&StoredSession {
            server: "arena".into(),
            id: "1-1".into(),
            external_id: None,
            room: None,
            map: None,
            mode: None,
            phase: None,
            begun_unix_ms: 1,
            ended_unix_ms: None,
            players_peak: 3,
            joins: Some(4),
            leaves: Some(5),
            cpu_basis: None,
            used: Default::default(),
            peak_rss_bytes: None,
        });
    }
}
