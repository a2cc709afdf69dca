//! Where a function is in an executable or a shared object: symbol or address to file offset, the way in which the
//! kernel wants it. Reads what it needs of the file and nothing else; what the file says of itself is not trusted.

use std::{fs::File, io};

use memchr::memmem;
use object::{
    Endianness, ReadCache, ReadRef,
    elf::{self, PF_X, PT_LOAD, SHT_DYNSYM, SHT_SYMTAB, STT_FUNC, STT_NOTYPE},
    read::{
        SectionIndex,
        elf::{FileHeader, ProgramHeader, SectionHeader, SectionTable, Sym},
    },
};

use super::error::{NAMES_SHOWN, ProbeError};
use crate::config::{ProbeMeasure, ProbePlace};

/// Longest name that is compared.
const LONGEST_NAME: usize = 16_384;

/// File offset of a function of `file`, which messages call `object`.
pub fn resolve(
    file: File,
    object: &str,
    place: &ProbePlace,
    measure: ProbeMeasure,
) -> Result<u64, ProbeError> {
    let kind = file.metadata().map_err(|source| read_error(object, source))?;
    if !kind.is_file() {
        let source = io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file");
        return Err(read_error(object, source));
    }
    let data = ReadCache::new(file);
    resolve_in(&data, object, place, measure)
}

fn read_error(object: &str, source: io::Error) -> ProbeError {
    ProbeError::Read {
        object: object.to_owned(),
        source,
    }
}

fn resolve_in<'data, R: ReadRef<'data>>(
    data: R,
    object: &str,
    place: &ProbePlace,
    measure: ProbeMeasure,
) -> Result<u64, ProbeError> {
    let ident = data.read_bytes_at(0, 5).unwrap_or_default();
    match ident {
        [0x7f, b'E', b'L', b'F', 1] => {
            Elf::<elf::FileHeader32<Endianness>, R>::open(data, object)?.find(place, measure)
        }
        [0x7f, b'E', b'L', b'F', 2] => {
            Elf::<elf::FileHeader64<Endianness>, R>::open(data, object)?.find(place, measure)
        }
        _ => Err(ProbeError::NoElf {
            object: object.to_owned(),
            message: "it does not begin like one".into(),
        }),
    }
}

/// An opened file.
struct Elf<'a, 'data, H: FileHeader<Endian = Endianness>, R: ReadRef<'data>> {
    data: R,
    object: &'a str,
    endian: Endianness,
    segments: &'data [H::ProgramHeader],
    sections: SectionTable<'data, H, R>,
}

impl<'a, 'data, H: FileHeader<Endian = Endianness>, R: ReadRef<'data>> Elf<'a, 'data, H, R> {
    fn open(data: R, object: &'a str) -> Result<Self, ProbeError> {
        let read = || -> object::Result<Self> {
            let header = H::parse(data)?;
            let endian = header.endian()?;
            Ok(Self {
                data,
                object,
                endian,
                segments: header.program_headers(endian, data)?,
                sections: header.sections(endian, data)?,
            })
        };
        read().map_err(|error| broken(object, &error))
    }

    fn find(&self, place: &ProbePlace, measure: ProbeMeasure) -> Result<u64, ProbeError> {
        let is_go = [".gopclntab", ".note.go.buildid", ".go.buildinfo"]
            .iter()
            .any(|name| {
                self.sections
                    .section_by_name(self.endian, name.as_bytes())
                    .is_some()
            });
        if is_go && measure == ProbeMeasure::Time {
            return Err(ProbeError::Go {
                object: self.object.to_owned(),
            });
        }
        let address = match place {
            ProbePlace::Address(address) => *address,
            ProbePlace::Symbol(symbol) => self.address(symbol)?,
        };
        self.file_offset(address).ok_or_else(|| ProbeError::NoCode {
            object: self.object.to_owned(),
            address,
            ranges: self.code_ranges(),
        })
    }

    /// Executable parts of the file: address, size in the file, place in the file.
    fn code(&self) -> impl Iterator<Item = (u64, u64, u64)> {
        let endian = self.endian;
        self.segments
            .iter()
            .filter(move |segment| segment.p_type(endian) == PT_LOAD && segment.p_flags(endian) & PF_X != 0)
            .map(move |segment| {
                let start: u64 = segment.p_vaddr(endian).into();
                (
                    start,
                    segment.p_filesz(endian).into(),
                    segment.p_offset(endian).into(),
                )
            })
    }

    fn file_offset(&self, address: u64) -> Option<u64> {
        self.code().find_map(|(start, size, place)| {
            let inside = address.checked_sub(start).filter(|inside| *inside < size)?;
            place.checked_add(inside)
        })
    }

    fn code_ranges(&self) -> String {
        let ranges: Vec<String> = self
            .code()
            .take(NAMES_SHOWN)
            .map(|(start, size, _)| format!("{start:#x} and {:#x}", start.saturating_add(size)))
            .collect();
        ranges.join(", ")
    }

    fn address(&self, symbol: &str) -> Result<u64, ProbeError> {
        let mut search = Search::new(symbol);
        let mut has_table = false;
        for kind in [SHT_SYMTAB, SHT_DYNSYM] {
            for section in self
                .sections
                .iter()
                .filter(|section| section.sh_type(self.endian) == kind)
            {
                has_table |= kind == SHT_SYMTAB;
                self.look_through(section, &mut search)
                    .map_err(|error| broken(self.object, &error))?;
            }
        }
        search.found(self.object, has_table)
    }

    fn look_through(&self, section: &'data H::SectionHeader, search: &mut Search<'_>) -> object::Result<()> {
        let symbols: &[H::Sym] = section.data_as_array(self.endian, self.data)?;
        let names = self
            .sections
            .section(SectionIndex(section.sh_link(self.endian) as usize))?;
        let names = names.data(self.endian, self.data)?;
        for symbol in symbols {
            let is_code = matches!(symbol.st_type(), STT_FUNC | STT_NOTYPE);
            let address: u64 = symbol.st_value(self.endian).into();
            if !is_code || address == 0 || symbol.is_undefined(self.endian) {
                continue;
            }
            let Some(rest) = names.get(symbol.st_name(self.endian) as usize..) else {
                continue;
            };
            let rest = &rest[..rest.len().min(LONGEST_NAME)];
            let name = &rest[..memchr::memchr(0, rest).unwrap_or(rest.len())];
            // Labels of data have no type either.
            if self.file_offset(address).is_some() {
                search.consider(name, address);
            }
        }
        Ok(())
    }
}

fn broken(object: &str, error: &object::Error) -> ProbeError {
    ProbeError::NoElf {
        object: object.to_owned(),
        message: error.to_string(),
    }
}

/// Functions that a name may mean.
struct Search<'a> {
    wanted: &'a str,
    /// Last part of the wanted name: mangled names hold it as it is.
    part: memmem::Finder<'a>,
    exact: Option<u64>,
    /// By their names as people write them.
    written: Vec<(u64, String)>,
    /// Hold the part and are something else.
    similar: Vec<String>,
}

impl<'a> Search<'a> {
    fn new(wanted: &'a str) -> Self {
        Self {
            wanted,
            part: memmem::Finder::new(last_part(wanted).as_bytes()),
            exact: None,
            written: Vec::new(),
            similar: Vec::new(),
        }
    }

    fn consider(&mut self, name: &[u8], address: u64) {
        if name == self.wanted.as_bytes() {
            self.exact.get_or_insert(address);
            return;
        }
        if self.part.find(name).is_none() {
            return;
        }
        let Ok(name) = std::str::from_utf8(name) else {
            return;
        };
        let written = demangled(name);
        // What compilers move out of a function is no function.
        let is_scrap = name.contains(".cold") || name.contains(".part.");
        let means = !is_scrap
            && written.iter().any(|written| {
                let bare = without_arguments(written);
                [written.as_str(), bare, without_template(bare)]
                    .iter()
                    .any(|form| is_called(form, self.wanted))
            });
        if means {
            if self.written.iter().all(|(known, _)| *known != address) {
                self.written.push((address, name.to_owned()));
            }
        } else if self.similar.len() < NAMES_SHOWN {
            let shown = written.into_iter().next().unwrap_or_else(|| name.to_owned());
            let shown: String = shown
                .chars()
                .filter(|sign| !sign.is_control())
                .take(200)
                .collect();
            if !self.similar.contains(&shown) {
                self.similar.push(shown);
            }
        }
    }

    fn found(self, object: &str, has_table: bool) -> Result<u64, ProbeError> {
        let (object, symbol) = (object.to_owned(), self.wanted.to_owned());
        if let Some(address) = self.exact {
            return Ok(address);
        }
        match &self.written[..] {
            [(address, _)] => Ok(*address),
            [] if has_table || !self.similar.is_empty() => Err(ProbeError::NoSymbol {
                object,
                symbol,
                names: self.similar,
            }),
            [] => Err(ProbeError::Stripped { object, symbol }),
            several => Err(ProbeError::Ambiguous {
                object,
                symbol,
                count: several.len(),
                names: several
                    .iter()
                    .take(NAMES_SHOWN)
                    .map(|(_, name)| name.clone())
                    .collect(),
            }),
        }
    }
}

/// A name as it was written in Rust or C++; nothing for names that are as they were written.
fn demangled(name: &str) -> Option<String> {
    if let Ok(rust) = rustc_demangle::try_demangle(name) {
        return Some(format!("{rust:#}"));
    }
    if !name.starts_with("_Z") && !name.starts_with("__Z") {
        return None;
    }
    cpp_demangle::Symbol::new(name).ok()?.demangle().ok()
}

/// Is `written` what `wanted` names: the same, or the same at the end of a path or behind a type?
fn is_called(written: &str, wanted: &str) -> bool {
    written
        .strip_suffix(wanted)
        .is_some_and(|path| path.is_empty() || path.ends_with("::") || path.ends_with(' '))
}

/// `Game::Rewind(Player*, int) const` without what follows the name.
fn without_arguments(written: &str) -> &str {
    let mut depth = 0usize;
    for (place, sign) in written.char_indices() {
        match sign {
            '<' => depth += 1,
            '>' => depth = depth.saturating_sub(1),
            // `(anonymous namespace)` is part of a name.
            '(' if depth == 0 && place > 0 && !written[..place].ends_with("::") => {
                return &written[..place];
            }
            _ => {}
        }
    }
    written
}

/// `game::rewind` of `game::rewind<int>`.
fn without_template(written: &str) -> &str {
    let mut depth = 0usize;
    if !written.ends_with('>') {
        return written;
    }
    for (place, sign) in written.char_indices().rev() {
        match sign {
            '>' => depth += 1,
            '<' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return &written[..place];
        }
    }
    written
}

/// `rewind` of `game::lag::rewind<int>(Player*)`.
fn last_part(wanted: &str) -> &str {
    let name = without_arguments(wanted);
    let name = name
        .find('<')
        .filter(|place| *place > 0)
        .map_or(name, |place| &name[..place]);
    name.rsplit("::").next().unwrap_or(name)
}

#[cfg(test)]
mod tests;
