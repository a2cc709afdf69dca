//! Bytes to lines: LF and CRLF; UTF-8, and UTF-16 where the file begins with its byte-order mark; lines of bounded length.
//!
//! A line is handed on without a copy where it is clean. Otherwise: invalid sequences become U+FFFD, NUL is left out (a
//! file that was truncated under a writer which does not append begins with a hole), escape sequences of terminals
//! (ECMA-48: CSI, OSC, DCS, ...) are left out.
//!
//! Not here: a carriage return inside a line is no line end. Progress bars use it, and so could a chat line that wants to
//! look like a line of the game's own.

/// Longest line. What goes beyond is skipped and counted.
pub const LINE_LIMIT: usize = 64 * 1024;

/// Buffers are given back above this size.
const KEPT_CAPACITY: usize = 4 * 1024;

/// How the text of a log is encoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// UTF-8, or anything that has ASCII as a subset.
    #[default]
    Utf8,
    /// UTF-16, low byte first.
    Utf16Le,
    /// UTF-16, high byte first.
    Utf16Be,
}

const MARKS: [(&[u8], Encoding); 3] = [
    (&[0xef, 0xbb, 0xbf], Encoding::Utf8),
    (&[0xff, 0xfe], Encoding::Utf16Le),
    (&[0xfe, 0xff], Encoding::Utf16Be),
];

impl Encoding {
    /// What the first bytes of a file say (Unicode, "Byte Order Mark"); UTF-8 where there is no mark.
    pub fn of(first: &[u8]) -> Self {
        MARKS
            .iter()
            .find(|(mark, _)| first.starts_with(mark))
            .map_or(Self::Utf8, |(_, encoding)| *encoding)
    }

    /// Bytes of one code unit.
    pub fn unit(self) -> usize {
        match self {
            Self::Utf8 => 1,
            Self::Utf16Le | Self::Utf16Be => 2,
        }
    }

    /// Do these bytes, whole code units, end with a line feed?
    pub fn ends_line(self, bytes: &[u8]) -> bool {
        match self {
            Self::Utf8 => bytes.ends_with(b"\n"),
            Self::Utf16Le => bytes.ends_with(&[b'\n', 0]),
            Self::Utf16Be => bytes.ends_with(&[0, b'\n']),
        }
    }
}

/// What went through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LineCounts {
    /// Lines handed on.
    pub lines: u64,
    /// Bytes taken in.
    pub bytes: u64,
    /// Lines of which only the beginning was handed on.
    pub overlong: u64,
    /// Lines with bytes that are not text in the log's encoding, or with NUL.
    pub invalid: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Too few bytes to tell whether there is a byte-order mark.
    First,
    /// Inside a line, or between two.
    Line,
    /// Up to the next line end nothing is handed on.
    Skip,
}

/// Cuts a stream of bytes into lines.
#[derive(Debug)]
pub struct Lines {
    limit: usize,
    encoding: Encoding,
    state: State,
    /// The line that is not complete, at most `limit` bytes.
    pending: Vec<u8>,
    /// Bytes taken in since the last line end.
    unfinished: u64,
    /// The last byte taken in.
    previous: u8,
    cleaner: Cleaner,
    counts: LineCounts,
}

impl Lines {
    /// At the beginning of a stream; lines of at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            limit: limit.max(4),
            encoding: Encoding::Utf8,
            state: State::First,
            pending: Vec::new(),
            unfinished: 0,
            previous: 0,
            cleaner: Cleaner::default(),
            counts: LineCounts::default(),
        }
    }

    /// Goes on at the beginning of another stream. What is unfinished is forgotten; counts go on.
    pub fn restart(&mut self) {
        self.encoding = Encoding::Utf8;
        self.state = State::First;
        self.reset();
    }

    /// Goes on at a place where a line begins.
    pub fn resume(&mut self, encoding: Encoding) {
        self.encoding = encoding;
        self.state = State::Line;
        self.reset();
    }

    /// Goes on inside a line, whose rest says nothing.
    pub fn resume_inside(&mut self, encoding: Encoding) {
        self.resume(encoding);
        self.state = State::Skip;
    }

    fn reset(&mut self) {
        self.pending = Vec::new();
        self.unfinished = 0;
        self.previous = 0;
    }

    /// What went through so far.
    pub fn counts(&self) -> LineCounts {
        LineCounts {
            invalid: self.cleaner.invalid,
            ..self.counts
        }
    }

    /// Bytes taken in since the last line end.
    pub fn unfinished(&self) -> u64 {
        self.unfinished
    }

    /// Passes by `length` bytes of NUL that nobody needs to read.
    pub fn skip_hole(&mut self, length: u64) {
        self.unfinished += length;
        if length > 0 {
            self.previous = 0;
        }
    }

    /// Takes in bytes, hands on every line that they complete.
    pub fn push(&mut self, bytes: &[u8], each: &mut impl FnMut(&str)) {
        self.counts.bytes += bytes.len() as u64;
        if self.state != State::First {
            return self.feed(bytes, each);
        }
        let known = self.pending.len();
        let (first, rest) = bytes.split_at(bytes.len().min(3usize.saturating_sub(known)));
        self.pending.extend_from_slice(first);
        let undecided = |(mark, _): &(&[u8], Encoding)| {
            mark.len() > self.pending.len() && mark.starts_with(&self.pending)
        };
        if MARKS.iter().any(undecided) {
            self.unfinished = self.pending.len() as u64;
            return;
        }
        self.begin(each);
        self.feed(rest, each);
    }

    /// The first bytes are enough to tell the encoding.
    fn begin(&mut self, each: &mut impl FnMut(&str)) {
        let first = std::mem::take(&mut self.pending);
        let mark = MARKS.iter().find(|(mark, _)| first.starts_with(mark));
        self.encoding = mark.map_or(Encoding::Utf8, |(_, encoding)| *encoding);
        self.state = State::Line;
        self.unfinished = 0;
        let length = mark.map_or(0, |(mark, _)| mark.len());
        self.feed(first.get(length..).unwrap_or_default(), each);
    }

    /// The stream is over: what is unfinished is a line.
    pub fn finish(&mut self, each: &mut impl FnMut(&str)) {
        if self.state == State::First && !self.pending.is_empty() {
            self.begin(each);
        }
        if self.state == State::Line && !self.pending.is_empty() {
            let pending = std::mem::take(&mut self.pending);
            self.hand_on(&pending, each);
        }
        self.restart();
    }

    fn feed(&mut self, mut bytes: &[u8], each: &mut impl FnMut(&str)) {
        while let Some(end) = self.line_end(bytes) {
            let (line, rest) = bytes.split_at(end);
            self.complete(line, each);
            self.unfinished = 0;
            self.previous = 0;
            bytes = rest;
        }
        self.keep(bytes, each);
        self.unfinished += bytes.len() as u64;
        if let Some(last) = bytes.last() {
            self.previous = *last;
        }
    }

    /// Where the first line end in `bytes` is over.
    fn line_end(&self, bytes: &[u8]) -> Option<usize> {
        let (first, second) = match self.encoding {
            Encoding::Utf8 => return memchr::memchr(b'\n', bytes).map(|at| at + 1),
            Encoding::Utf16Le => (b'\n', 0),
            Encoding::Utf16Be => (0, b'\n'),
        };
        // Code units begin at even distances from the line's beginning.
        let odd = self.unfinished % 2 == 1;
        if odd && self.previous == first && bytes.first() == Some(&second) {
            return Some(1);
        }
        let skipped = usize::from(odd);
        bytes
            .get(skipped..)?
            .chunks_exact(2)
            .position(|unit| unit == [first, second])
            .map(|at| skipped + 2 * at + 2)
    }

    /// The line ends with `bytes`, line end included.
    fn complete(&mut self, bytes: &[u8], each: &mut impl FnMut(&str)) {
        if self.state == State::Skip {
            self.state = State::Line;
            return;
        }
        let unit = self.encoding.unit();
        if self.pending.is_empty() {
            let line = self.without_hole(bytes);
            let line = line.get(..line.len().saturating_sub(unit)).unwrap_or_default();
            return self.hand_on(line, each);
        }
        let mut line = std::mem::take(&mut self.pending);
        // One byte of the line end may be in `line` already.
        let room = (self.limit + 1 + unit).saturating_sub(line.len());
        line.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        if bytes.len() <= room {
            line.truncate(line.len().saturating_sub(unit));
        }
        self.hand_on(&line, each);
        line.clear();
        line.shrink_to(KEPT_CAPACITY);
        self.pending = line;
    }

    /// Keeps the beginning of a line whose end is not there yet.
    fn keep(&mut self, bytes: &[u8], each: &mut impl FnMut(&str)) {
        if self.state == State::Skip {
            return;
        }
        let bytes = if self.pending.is_empty() {
            self.without_hole(bytes)
        } else {
            bytes
        };
        let room = (self.limit + 1).saturating_sub(self.pending.len());
        self.pending.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        if self.pending.len() > self.limit {
            let line = std::mem::take(&mut self.pending);
            self.hand_on(&line, each);
            self.state = State::Skip;
        }
    }

    /// A hole in front of a line is not part of it, however long it is.
    fn without_hole<'b>(&self, bytes: &'b [u8]) -> &'b [u8] {
        if self.encoding != Encoding::Utf8 || bytes.first() != Some(&0) {
            return bytes;
        }
        let hole = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
        bytes.get(hole..).unwrap_or_default()
    }

    fn hand_on(&mut self, line: &[u8], each: &mut impl FnMut(&str)) {
        let line = if line.len() > self.limit {
            self.counts.overlong += 1;
            cut(line, self.limit, self.encoding)
        } else {
            line
        };
        self.counts.lines += 1;
        each(self.cleaner.clean(line, self.encoding));
    }
}

/// The first `limit` bytes, without half a character at the end.
fn cut(line: &[u8], limit: usize, encoding: Encoding) -> &[u8] {
    let mut end = limit / encoding.unit() * encoding.unit();
    if encoding == Encoding::Utf8 {
        let continues = |at: usize| line.get(at).is_some_and(|byte| byte & 0xc0 == 0x80);
        end -= (0..3).take_while(|back| continues(end - back)).count();
    }
    line.get(..end).unwrap_or(line)
}

/// Makes text of a line.
#[derive(Debug, Default)]
pub struct Cleaner {
    decoded: String,
    text: String,
    invalid: u64,
}

impl Cleaner {
    /// Lines that were not wholly text.
    pub fn invalid(&self) -> u64 {
        self.invalid
    }

    /// The text of `line`, which has no line feed.
    pub fn clean<'a>(&'a mut self, line: &'a [u8], encoding: Encoding) -> &'a str {
        self.decoded.clear();
        self.decoded.shrink_to(KEPT_CAPACITY);
        self.text.clear();
        self.text.shrink_to(KEPT_CAPACITY);
        let text = match (encoding, std::str::from_utf8(line)) {
            (Encoding::Utf8, Ok(text)) => text,
            (Encoding::Utf8, Err(_)) => {
                self.invalid += 1;
                self.decoded.push_str(&String::from_utf8_lossy(line));
                &self.decoded
            }
            (Encoding::Utf16Le | Encoding::Utf16Be, _) => {
                if !decode_utf16(line, encoding, &mut self.decoded) {
                    self.invalid += 1;
                }
                &self.decoded
            }
        };
        let text = text.trim_end_matches('\r');
        let Some(first) = memchr::memchr2(0x1b, 0, text.as_bytes()) else {
            return text;
        };
        if memchr::memchr(0, text.as_bytes()).is_some() {
            self.invalid += 1;
        }
        strip(text, first, &mut self.text);
        self.text.trim_end_matches('\r')
    }
}

/// Appends the text; false where something was not UTF-16.
fn decode_utf16(line: &[u8], encoding: Encoding, text: &mut String) -> bool {
    let units = line.chunks_exact(2);
    let mut valid = units.remainder().is_empty();
    let units = units.map(|unit| match (encoding, unit) {
        (Encoding::Utf16Be, &[high, low]) | (_, &[low, high]) => u16::from_be_bytes([high, low]),
        _ => 0,
    });
    text.extend(char::decode_utf16(units).map(|unit| {
        unit.unwrap_or_else(|_| {
            valid = false;
            char::REPLACEMENT_CHARACTER
        })
    }));
    valid
}

/// Appends `text` without NUL and escape sequences; the first of either is at `first`.
fn strip(text: &str, first: usize, out: &mut String) {
    let (clean, mut rest) = text.split_at(first);
    out.push_str(clean);
    while let Some(control) = rest.bytes().next() {
        let skipped = if control == 0x1b {
            1 + sequence_length(&rest.as_bytes()[1..])
        } else {
            1
        };
        rest = rest.get(skipped..).unwrap_or_default();
        let next = memchr::memchr2(0x1b, 0, rest.as_bytes()).unwrap_or(rest.len());
        let (clean, after) = rest.split_at(next);
        out.push_str(clean);
        rest = after;
    }
}

/// Bytes of the escape sequence whose ESC stands in front of `after` (ECMA-48, 5.3 to 5.6).
///
/// Stricter than a terminal: of a sequence that does not end as it should, only the introducer is taken, so that a name
/// with a stray ESC in it does not swallow what the game says after the name.
fn sequence_length(after: &[u8]) -> usize {
    let Some((introducer, rest)) = after.split_first() else {
        return 0;
    };
    match introducer {
        b'[' => {
            let parameters = rest
                .iter()
                .take_while(|byte| (0x30..=0x3f).contains(*byte))
                .count();
            match rest.get(parameters) {
                Some(0x40..=0x7e) => parameters + 2,
                _ => 1,
            }
        }
        b']' | b'P' | b'X' | b'^' | b'_' => {
            let end = memchr::memchr2(0x07, 0x1b, rest);
            match end.map(|at| (at, rest.get(at), rest.get(at + 1))) {
                Some((at, Some(0x07), _)) if *introducer == b']' => at + 2,
                Some((at, Some(0x1b), Some(b'\\'))) => at + 3,
                _ => 1,
            }
        }
        // Character sets: one intermediate byte, one final byte.
        b'(' | b')' | b'*' | b'+' | b'#' | b'%' => match rest.first() {
            Some(0x30..=0x7e) => 2,
            _ => 1,
        },
        0x30..=0x7e => 1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests;
