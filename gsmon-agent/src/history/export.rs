//! Frames for other programs: CSV and Parquet, one row per server and frame, a column per measure; a figure that nobody
//! measured is empty. Written as they are read, so that memory does not grow with the range. Not here: which frames.

use std::{
    io::{self, Write},
    sync::Arc,
};

use parquet::{
    basic::{Compression, ConvertedType, Repetition, Type as Physical},
    data_type::{ByteArray, ByteArrayType, DoubleType, FloatType, Int64Type},
    errors::ParquetError,
    file::{properties::WriterProperties, writer::SerializedFileWriter},
    schema::types::Type,
};

use super::{frame::Frame, measure::Measure};
use crate::{games::event::Phase, world::session::phase};

/// Frames that are in memory before they are written.
const ROW_GROUP: usize = 32_768;

/// Why frames cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The file.
    #[error("the export cannot be written: {0}")]
    Write(#[from] io::Error),
    /// CSV.
    #[error("the CSV cannot be written: {0}")]
    Csv(#[from] csv::Error),
    /// Parquet.
    #[error("the Parquet file cannot be written: {0}")]
    Parquet(#[from] ParquetError),
}

/// Takes frames and writes them.
pub trait Export {
    /// Adds a frame of a server.
    ///
    /// # Errors
    /// When it cannot be written.
    fn add(&mut self, server: &str, frame: &Frame) -> Result<(), ExportError>;

    /// Writes the end.
    ///
    /// # Errors
    /// When it cannot be written.
    fn finish(self: Box<Self>) -> Result<(), ExportError>;
}

/// Columns before the measures.
const FIXED: [&str; 7] = [
    "server",
    "unix_ms",
    "seconds",
    "begins_anew",
    "phase",
    "mode",
    "map",
];

/// CSV with a header.
pub struct Csv<W: Write> {
    writer: csv::Writer<W>,
}

impl<W: Write> Csv<W> {
    /// Writes the header.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn new(out: W) -> Result<Self, ExportError> {
        let mut writer = csv::Writer::from_writer(out);
        let measures = Measure::ALL.iter().map(|measure| measure.name());
        writer.write_record(FIXED.into_iter().chain(measures))?;
        Ok(Self { writer })
    }
}

fn phase_name(told: Option<Phase>) -> &'static str {
    told.map_or("", phase::name)
}

impl<W: Write> Export for Csv<W> {
    fn add(&mut self, server: &str, frame: &Frame) -> Result<(), ExportError> {
        let word = |word: &Option<Arc<str>>| word.as_deref().unwrap_or_default().to_owned();
        let fixed = [
            server.to_owned(),
            frame.unix_ms.to_string(),
            frame.seconds.to_string(),
            u8::from(frame.begins_anew).to_string(),
            phase_name(frame.phase).to_owned(),
            word(&frame.mode),
            word(&frame.map),
        ];
        let figures = Measure::ALL.iter().map(|measure| {
            // As it is kept: more digits than that would be made up.
            let value = frame.get(*measure).map(|value| value as f32);
            value.map_or_else(String::new, |value| value.to_string())
        });
        self.writer.write_record(fixed.into_iter().chain(figures))?;
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<(), ExportError> {
        Ok(self.writer.flush()?)
    }
}

/// Parquet, compressed with Snappy.
pub struct Parquet<W: Write + Send> {
    writer: SerializedFileWriter<W>,
    rows: Vec<(Arc<str>, Frame)>,
}

fn schema() -> Result<Arc<Type>, ParquetError> {
    let column = |name: &str, physical: Physical, converted: ConvertedType, repetition: Repetition| {
        Type::primitive_type_builder(name, physical)
            .with_converted_type(converted)
            .with_repetition(repetition)
            .build()
            .map(Arc::new)
    };
    let (needed, may_be) = (Repetition::REQUIRED, Repetition::OPTIONAL);
    let mut columns = vec![
        column("server", Physical::BYTE_ARRAY, ConvertedType::UTF8, needed)?,
        column(
            "unix_ms",
            Physical::INT64,
            ConvertedType::TIMESTAMP_MILLIS,
            needed,
        )?,
        column("seconds", Physical::DOUBLE, ConvertedType::NONE, needed)?,
        column("begins_anew", Physical::INT64, ConvertedType::NONE, needed)?,
        column("phase", Physical::BYTE_ARRAY, ConvertedType::UTF8, may_be)?,
        column("mode", Physical::BYTE_ARRAY, ConvertedType::UTF8, may_be)?,
        column("map", Physical::BYTE_ARRAY, ConvertedType::UTF8, may_be)?,
    ];
    for measure in Measure::ALL {
        columns.push(column(
            measure.name(),
            Physical::FLOAT,
            ConvertedType::NONE,
            may_be,
        )?);
    }
    Ok(Arc::new(
        Type::group_type_builder("frames").with_fields(columns).build()?,
    ))
}

impl<W: Write + Send> Parquet<W> {
    /// Begins the file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn new(out: W) -> Result<Self, ExportError> {
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .build();
        Ok(Self {
            writer: SerializedFileWriter::new(out, schema()?, Arc::new(properties))?,
            rows: Vec::new(),
        })
    }

    fn write_group(&mut self) -> Result<(), ParquetError> {
        let rows = std::mem::take(&mut self.rows);
        if rows.is_empty() {
            return Ok(());
        }
        let frames = || rows.iter().map(|(_, frame)| frame);
        let mut group = self.writer.next_row_group()?;
        let servers: Vec<ByteArray> = rows.iter().map(|(server, _)| (&**server).into()).collect();
        let times: Vec<i64> = frames().map(|frame| frame.unix_ms).collect();
        let seconds: Vec<f64> = frames().map(|frame| frame.seconds).collect();
        let anew: Vec<i64> = frames().map(|frame| i64::from(frame.begins_anew)).collect();
        let phases = frames().map(|frame| frame.phase.map(|told| phase::name(told).into()));
        let modes = frames().map(|frame| frame.mode.as_deref().map(ByteArray::from));
        let maps = frames().map(|frame| frame.map.as_deref().map(ByteArray::from));
        let texts: [Vec<Option<ByteArray>>; 3] = [phases.collect(), modes.collect(), maps.collect()];
        // In the order of the schema.
        let mut written = 0;
        while let Some(mut column) = group.next_column()? {
            match written {
                0 => drop(
                    column
                        .typed::<ByteArrayType>()
                        .write_batch(&servers, None, None)?,
                ),
                1 => drop(column.typed::<Int64Type>().write_batch(&times, None, None)?),
                2 => drop(column.typed::<DoubleType>().write_batch(&seconds, None, None)?),
                3 => drop(column.typed::<Int64Type>().write_batch(&anew, None, None)?),
                4..=6 => {
                    let (values, levels) = present(texts[written - 4].iter().cloned());
                    column
                        .typed::<ByteArrayType>()
                        .write_batch(&values, Some(&levels), None)?;
                }
                _ => {
                    let measure = Measure::ALL[written - FIXED.len()];
                    let figures = frames().map(|frame| frame.get(measure).map(|value| value as f32));
                    let (values, levels) = present(figures);
                    column
                        .typed::<FloatType>()
                        .write_batch(&values, Some(&levels), None)?;
                }
            }
            column.close()?;
            written += 1;
        }
        group.close()?;
        Ok(())
    }
}

/// Values that there are, and for each row whether there is one.
pub(super) fn present<T>(values: impl Iterator<Item = Option<T>>) -> (Vec<T>, Vec<i16>) {
    let (mut there, mut levels) = (Vec::new(), Vec::new());
    for value in values {
        levels.push(i16::from(value.is_some()));
        there.extend(value);
    }
    (there, levels)
}

impl<W: Write + Send> Export for Parquet<W> {
    fn add(&mut self, server: &str, frame: &Frame) -> Result<(), ExportError> {
        let name = match self.rows.last() {
            Some((last, _)) if **last == *server => last.clone(),
            _ => server.into(),
        };
        self.rows.push((name, frame.clone()));
        if self.rows.len() >= ROW_GROUP {
            self.write_group()?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<(), ExportError> {
        self.write_group()?;
        self.writer.close()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use parquet::{
        file::reader::{FileReader, SerializedFileReader},
        record::Field,
    };

    use super::*;

    fn frames() -> Vec<Frame> {
        let mut first = Frame::new(1_700_000_000_000, 1.0).with(Measure::CpuCores, 0.25);
        first.phase = Some(Phase::Active);
        first.map = Some("a, \"quoted\" map".into());
        vec![
            first,
            Frame::new(1_700_000_001_000, 1.5).with(Measure::Players, 12.0),
        ]
    }

    #[test]
    fn csv_has_a_header_and_leaves_out_what_nobody_measured() {
        let mut out = Vec::new();
        let mut csv = Box::new(Csv::new(&mut out).unwrap());
        frames().iter().for_each(|frame| csv.add("arena", frame).unwrap());
        csv.finish().unwrap();
        let mut reader = csv::Reader::from_reader(out.as_slice());
        let header = reader.headers().unwrap().clone();
        let at = |name: &str| header.iter().position(|column| column == name).unwrap();
        let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
        assert_eq!((&rows[0][at("cpu_cores")], &rows[0][at("players")]), ("0.25", ""));
        assert_eq!(
            (&rows[0][at("phase")], &rows[0][at("map")]),
            ("active", "a, \"quoted\" map")
        );
        assert_eq!((&rows[1][at("players")], &rows[1][at("seconds")]), ("12", "1.5"));
        assert_eq!(header.len(), FIXED.len() + Measure::COUNT);
    }

    #[test]
    fn parquet_is_read_again_by_its_columns() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut parquet = Box::new(Parquet::new(file.reopen().unwrap()).unwrap());
        // More than one row group.
        for _ in 0..ROW_GROUP / 2 + 10 {
            frames()
                .iter()
                .for_each(|frame| parquet.add("arena", frame).unwrap());
        }
        parquet.finish().unwrap();
        let reader = SerializedFileReader::new(file.reopen().unwrap()).unwrap();
        assert_eq!(reader.num_row_groups(), 2);
        assert_eq!(
            reader.metadata().file_metadata().num_rows(),
            ROW_GROUP as i64 + 20
        );
        let row = reader.get_row_iter(None).unwrap().next().unwrap().unwrap();
        let told: std::collections::HashMap<String, Field> = row.into_columns().into_iter().collect();
        assert_eq!(told["server"], Field::Str("arena".into()));
        assert_eq!(told["unix_ms"], Field::TimestampMillis(1_700_000_000_000));
        assert_eq!(told["phase"], Field::Str("active".into()));
        assert_eq!(told["cpu_cores"], Field::Float(0.25));
        assert_eq!(told["players"], Field::Null);
    }
}
