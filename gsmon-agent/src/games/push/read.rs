//! Reading fields of a JSON value with the place (RFC 6901) and the expectation kept for whoever has to correct it.

use std::{
    fmt::{self, Write},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use serde::Serialize;
use serde_json::{Map, Value};

/// So many problems of one request are spelled out; the rest is counted.
pub const MOST_PROBLEMS: usize = 20;
/// Characters of what was found, or of an unknown field's name, that are repeated.
const MOST_REPEATED: usize = 64;

/// One thing that cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// JSON pointer (RFC 6901) into the request; empty for the whole document.
    pub pointer: String,
    /// What would have been right.
    pub expected: String,
    /// What is there.
    pub found: String,
}

/// What is wrong with a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Problems {
    /// The first ones, in document order.
    #[serde(rename = "problems")]
    pub first: Vec<Problem>,
    /// How many more there are.
    #[serde(rename = "more_problems")]
    pub more: usize,
}

impl Problems {
    /// Nothing wrong?
    pub fn is_empty(&self) -> bool {
        self.first.is_empty()
    }

    /// Notes one more.
    pub(super) fn add(&mut self, place: &Place, expected: impl fmt::Display, found: impl fmt::Display) {
        if self.first.len() < MOST_PROBLEMS {
            self.first.push(Problem {
                pointer: place.to_string(),
                expected: expected.to_string(),
                found: found.to_string(),
            });
        } else {
            self.more += 1;
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        for (index, problem) in self.first.iter().enumerate() {
            let separator = if index > 0 { "; " } else { "" };
            write!(
                out,
                "{separator}at `{}`: expected {}, found {}",
                problem.pointer, problem.expected, problem.found
            )?;
        }
        if self.more > 0 {
            write!(out, "; and {} more", self.more)?;
        }
        Ok(())
    }
}

/// A place in the document. Written as a JSON pointer only where something is wrong.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    parent: Option<&'a Place<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Document,
    Field(&'a str),
    Element(usize),
}

impl Place<'static> {
    /// The whole document.
    pub const DOCUMENT: Self = Place {
        parent: None,
        step: Step::Document,
    };
}

impl<'a> Place<'a> {
    pub fn field(&'a self, name: &'a str) -> Self {
        Self {
            parent: Some(self),
            step: Step::Field(name),
        }
    }

    pub fn element(&'a self, index: usize) -> Self {
        Self {
            parent: Some(self),
            step: Step::Element(index),
        }
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        // As deep as the format, which is five.
        if let Some(parent) = self.parent {
            parent.fmt(out)?;
        }
        match self.step {
            Step::Document => Ok(()),
            Step::Element(index) => write!(out, "/{index}"),
            Step::Field(name) => {
                out.write_char('/')?;
                for character in name.chars().take(MOST_REPEATED) {
                    match character {
                        '~' => out.write_str("~0")?,
                        '/' => out.write_str("~1")?,
                        other => out.write_char(other)?,
                    }
                }
                Ok(())
            }
        }
    }
}

/// Says what a value is, shortly.
pub(super) fn describe(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(value) => value.to_string(),
        Value::Number(value) => format!("the number {value}"),
        Value::String(text) => quote(text),
        Value::Array(elements) => format!("an array of {}", elements.len()),
        Value::Object(_) => "an object".into(),
    }
}

/// A string from outside, escaped and cut.
pub(super) fn quote(text: &str) -> String {
    match text.char_indices().nth(MOST_REPEATED) {
        Some((end, _)) => format!("{:?} and more", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// What a string may be.
#[derive(Clone, Copy)]
pub(super) enum Text {
    /// 1 to 128 characters, none of them a control character: names that gsmon shows as they are.
    Word,
    /// 1 to 256 characters of any kind.
    Free,
}

impl Text {
    fn allows(self, text: &str) -> bool {
        let most = match self {
            Text::Word => 128,
            Text::Free => 256,
        };
        let length = text.chars().take(most + 1).count();
        let plain = match self {
            Text::Word => !text.chars().any(char::is_control),
            Text::Free => true,
        };
        (1..=most).contains(&length) && plain
    }

    fn expected(self) -> &'static str {
        match self {
            Text::Word => "a string of 1 to 128 characters without control characters",
            Text::Free => "a string of 1 to 256 characters",
        }
    }
}

/// Largest integer that every JSON implementation keeps exactly (RFC 8259, section 6).
const MOST_EXACT: u64 = (1 << 53) - 1;

/// A whole number, also where the sender writes it with a decimal point.
pub(super) fn whole(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| {
        let float = value.as_f64()?;
        (float.fract() == 0.0 && (0.0..=MOST_EXACT as f64).contains(&float)).then_some(float as u64)
    })
}

/// An object whose fields are all known.
pub(super) struct Object<'v> {
    fields: &'v Map<String, Value>,
    pub place: &'v Place<'v>,
}

impl<'v> Object<'v> {
    /// Notes every field that is not `allowed`; `None` where the value is no object.
    pub fn new(
        value: &'v Value,
        place: &'v Place<'v>,
        allowed: &[&str],
        problems: &mut Problems,
    ) -> Option<Self> {
        let Value::Object(fields) = value else {
            problems.add(place, "an object", describe(value));
            return None;
        };
        for name in fields.keys().filter(|name| !allowed.contains(&name.as_str())) {
            problems.add(
                &place.field(name),
                format_args!("no such field (known here: {})", allowed.join(", ")),
                "an unknown field",
            );
        }
        Some(Self { fields, place })
    }

    /// A field as it is.
    pub fn get(&self, name: &str) -> Option<&'v Value> {
        self.fields.get(name)
    }

    /// Notes that a field is wrong.
    pub fn wrong(&self, name: &str, expected: impl fmt::Display, value: &Value, problems: &mut Problems) {
        problems.add(&self.place.field(name), expected, describe(value));
    }

    /// Notes that a field is missing.
    pub fn missing(&self, name: &str, expected: impl fmt::Display, problems: &mut Problems) {
        problems.add(&self.place.field(name), expected, "nothing");
    }

    /// A string.
    pub fn text(&self, name: &str, text: Text, problems: &mut Problems) -> Option<Arc<str>> {
        let value = self.get(name)?;
        match value.as_str().filter(|string| text.allows(string)) {
            Some(string) => Some(string.into()),
            None => {
                self.wrong(name, text.expected(), value, problems);
                None
            }
        }
    }

    /// A string that has to be there.
    pub fn needed_text(&self, name: &str, text: Text, problems: &mut Problems) -> Option<Arc<str>> {
        if self.get(name).is_none() {
            self.missing(name, text.expected(), problems);
        }
        self.text(name, text, problems)
    }

    /// A whole number that loses nothing in any JSON implementation.
    pub fn exact(&self, name: &str, problems: &mut Problems) -> Option<u64> {
        self.whole_up_to(name, MOST_EXACT, problems)
    }

    /// A whole number of at most 32 bits.
    pub fn count(&self, name: &str, problems: &mut Problems) -> Option<u32> {
        self.whole_up_to(name, u32::MAX.into(), problems)
            .and_then(|value| value.try_into().ok())
    }

    fn whole_up_to(&self, name: &str, most: u64, problems: &mut Problems) -> Option<u64> {
        let value = self.get(name)?;
        let number = whole(value).filter(|number| *number <= most);
        if number.is_none() {
            self.wrong(
                name,
                format_args!("a whole number from 0 to {most}"),
                value,
                problems,
            );
        }
        number
    }

    /// A number above zero.
    pub fn positive(&self, name: &str, most: f64, problems: &mut Problems) -> Option<f64> {
        let value = self.get(name)?;
        let number = value.as_f64().filter(|number| *number > 0.0 && *number <= most);
        if number.is_none() {
            self.wrong(
                name,
                format_args!("a number above 0, at most {most}"),
                value,
                problems,
            );
        }
        number
    }

    /// An IP address, with or without a port.
    pub fn address(&self, name: &str, problems: &mut Problems) -> Option<(IpAddr, Option<u16>)> {
        let value = self.get(name)?;
        let address = value.as_str().and_then(|text| {
            let bare = || text.parse::<IpAddr>().ok().map(|ip| (ip, None));
            let with_port = || {
                text.parse::<SocketAddr>()
                    .ok()
                    .filter(|address| address.port() != 0)
            };
            bare().or_else(|| with_port().map(|address| (address.ip(), Some(address.port()))))
        });
        if address.is_none() {
            let expected = "an address such as \"192.0.2.7\", \"192.0.2.7:5000\" or \"[2001:db8::7]:5000\"";
            self.wrong(name, expected, value, problems);
        }
        address
    }
}
