//! How numbers become bytes: floats cut to what is known of them, columns of whole numbers packed by the crate pco, and
//! an envelope with version and checksum. Not here: what the columns mean (`samples`, `rollups`).

use pco::{
    ChunkConfig, DeltaSpec, ModeSpec, PagingSpec,
    wrapped::{FileCompressor, FileDecompressor},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::history::Measure;

/// How the content of a block is laid out: its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Samples, the journal, hours; minutes with a sketch of each minute, as they were written until schema 1.
    First = 1,
    /// Minutes with a sketch of ten minutes.
    TenMinuteSketches = 2,
}

/// The newest layout.
const VERSION: u8 = Layout::TenMinuteSketches as u8;
/// Numbers in one column: no block has more, so that a damaged one cannot ask for more memory than this.
const MOST_NUMBERS: usize = 1 << 18;

/// Bytes that cannot be what was written.
#[derive(Debug, thiserror::Error)]
pub enum CodeError {
    /// The checksum does not fit.
    #[error("the checksum does not fit: the block is damaged")]
    Checksum,
    /// Of another version of gsmon.
    #[error(
        "the block has layout {0}, this gsmon knows layouts up to {VERSION}: use the version that wrote it"
    )]
    Version(u8),
    /// No such layout.
    #[error("the block cannot be read: {0}")]
    Layout(#[from] postcard::Error),
    /// A column cannot be unpacked or packed.
    #[error("a column cannot be read or written: {0}")]
    Column(#[from] pco::errors::PcoError),
    /// Parts of a block contradict each other.
    #[error("the block contradicts itself: {0}")]
    Contradiction(&'static str),
}

/// Writes a value with version and checksum.
pub fn seal(value: &impl Serialize) -> Result<Vec<u8>, CodeError> {
    seal_as(Layout::First, value)
}

/// Writes a value of some layout with version and checksum.
pub fn seal_as(layout: Layout, value: &impl Serialize) -> Result<Vec<u8>, CodeError> {
    let mut bytes = postcard::to_extend(value, vec![layout as u8])?;
    let checksum = crc32fast::hash(&bytes);
    bytes.extend(checksum.to_le_bytes());
    Ok(bytes)
}

/// Reads what [`seal`] has written.
pub fn unseal<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodeError> {
    match unseal_any(bytes)? {
        (Layout::First, value) => Ok(value),
        (Layout::TenMinuteSketches, _) => Err(CodeError::Contradiction("a layout of minutes")),
    }
}

/// Reads what [`seal_as`] has written, and says with which layout.
pub fn unseal_any<T: DeserializeOwned>(bytes: &[u8]) -> Result<(Layout, T), CodeError> {
    let (content, checksum) = bytes.split_last_chunk::<4>().ok_or(CodeError::Checksum)?;
    if crc32fast::hash(content) != u32::from_le_bytes(*checksum) {
        return Err(CodeError::Checksum);
    }
    match content.split_first() {
        None => Err(CodeError::Checksum),
        Some((version, content)) => {
            let layouts = [Layout::First, Layout::TenMinuteSketches];
            let layout = layouts.into_iter().find(|layout| *layout as u8 == *version);
            let layout = layout.ok_or(CodeError::Version(*version))?;
            Ok((layout, postcard::from_bytes(content)?))
        }
    }
}

/// Bits of the mantissa that are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Precision(u32);

/// Within 0.2 %: rates, ratios, times.
const MEASURED: Precision = Precision(8);
/// Exact to 131,072: counts, and bytes within 8 in a million.
const COUNTED: Precision = Precision(16);
/// Within 0.8 %: players' lines.
pub const LINE: Precision = Precision(6);
/// Lengths of intervals, within 8 in a million.
pub const LENGTH: Precision = Precision(16);

impl Precision {
    /// Of a measure, by its unit.
    pub fn of(measure: Measure) -> Self {
        let measured = ["_cores", "_ratio", "_hz", "_ms", "_per_second"];
        match measured.iter().any(|unit| measure.name().ends_with(unit)) {
            true => MEASURED,
            false => COUNTED,
        }
    }

    /// Of the sum of many.
    pub fn of_sum(self) -> Self {
        Self(self.0 + 4)
    }

    /// The code of a value: rises with it, and numbers that are near have codes that are near.
    pub fn code(self, value: f32) -> i32 {
        let shift = 23 - self.0;
        let largest = (f32::MAX.to_bits() >> shift) as i32;
        let size = value.abs().min(f32::MAX).to_bits();
        let code = (((size + (1 << (shift - 1))) >> shift) as i32).min(largest);
        if value < 0.0 { -code } else { code }
    }

    /// The value of a code.
    pub fn value(self, code: i32) -> f32 {
        let shift = 23 - self.0;
        let size = f32::from_bits(code.unsigned_abs().checked_shl(shift).unwrap_or(0) & 0x7fff_ffff);
        if code < 0 { -size } else { size }
    }
}

/// A column of whole numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Ints {
    /// All are this.
    Same(i32),
    /// Packed.
    Packed(Vec<u8>),
}

/// Packs a column.
pub fn pack(numbers: &[i32]) -> Result<Ints, CodeError> {
    let first = numbers.first().copied().unwrap_or(0);
    if numbers.iter().all(|number| *number == first) {
        return Ok(Ints::Same(first));
    }
    if numbers.len() > MOST_NUMBERS {
        return Err(CodeError::Contradiction("too many numbers"));
    }
    // Which deltas fit is found out by trying; the mode is known, and finding it out costs most.
    let config = ChunkConfig::default()
        .with_mode_spec(ModeSpec::Classic)
        .with_delta_spec(DeltaSpec::Auto)
        .with_paging_spec(PagingSpec::Exact(vec![numbers.len()]));
    let file = FileCompressor::default();
    let mut bytes = Vec::new();
    file.write_header(&mut bytes)?;
    let mut chunk = file.chunk_compressor(numbers, &config)?;
    chunk.write_meta(&mut bytes)?;
    // One page has them all.
    chunk.write_page(0, &mut bytes)?;
    Ok(Ints::Packed(bytes))
}

/// Unpacks a column of so many numbers.
pub fn unpack(ints: &Ints, count: usize) -> Result<Vec<i32>, CodeError> {
    if count > MOST_NUMBERS {
        return Err(CodeError::Contradiction("too many numbers"));
    }
    match ints {
        Ints::Same(number) => Ok(vec![*number; count]),
        Ints::Packed(bytes) => {
            let (file, rest) = FileDecompressor::new(bytes.as_slice())?;
            let (mut chunk, rest) = file.chunk_decompressor::<i32, _>(rest)?;
            let mut numbers = vec![0; count];
            let progress = chunk.page_decompressor(rest, count)?.read(&mut numbers)?;
            match progress.n_processed == count {
                true => Ok(numbers),
                false => Err(CodeError::Contradiction("a column has another length")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn columns_come_back(numbers in prop::collection::vec(prop_oneof![Just(7), any::<i32>()], 0..700)) {
            let packed = pack(&numbers).unwrap();
            let bytes = seal(&packed).unwrap();
            let again: Ints = unseal(&bytes).unwrap();
            prop_assert_eq!(unpack(&again, numbers.len()).unwrap(), numbers);
        }

        #[test]
        fn values_keep_what_is_promised(value in any::<f32>().prop_filter("finite", |value| value.is_finite())) {
            for (precision, promised) in [(MEASURED, 0.002), (COUNTED, 8e-6)] {
                let again = precision.value(precision.code(value));
                let off = (f64::from(again) - f64::from(value)).abs();
                prop_assert!(off <= f64::from(value.abs()) * promised + 1e-37, "{again} for {value}");
                prop_assert_eq!(precision.code(again), precision.code(value));
            }
        }

        #[test]
        fn counts_are_exact(count in 0..131_072u32) {
            prop_assert_eq!(COUNTED.value(COUNTED.code(count as f32)), count as f32);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(unseal::<Ints>(&bytes).is_err());
            let _ = unpack(&Ints::Packed(bytes), 300);
        }

        #[test]
        fn a_changed_byte_is_noticed(place in 0..20usize, change in 1..=255u8) {
            let mut bytes = seal(&pack(&[1, 5, 9, -3, 77, 1_000_000, 2]).unwrap()).unwrap();
            let place = place % bytes.len();
            bytes[place] ^= change;
            prop_assert!(unseal::<Ints>(&bytes).is_err());
        }
    }
}
