//! Lists and databases, whole and damaged. The databases are written here, after MaxMind's published format, and read
//! by the crate that reads theirs.

use proptest::prelude::*;

use super::*;

/// A field of a record.
pub enum Field {
    Text(&'static str),
    Number(u32),
    Map(Vec<(&'static str, Field)>),
    List(Vec<Field>),
}

fn control(kind: u8, size: usize, into: &mut Vec<u8>) {
    assert!(size < 29 + 256);
    let short = size.min(29) as u8;
    if kind <= 7 {
        into.push(kind << 5 | short);
    } else {
        into.extend([short, kind - 7]);
    }
    if size >= 29 {
        into.push((size - 29) as u8);
    }
}

impl Field {
    fn write(&self, into: &mut Vec<u8>) {
        match self {
            Field::Text(text) => {
                control(2, text.len(), into);
                into.extend(text.as_bytes());
            }
            Field::Number(number) => {
                control(6, 4, into);
                into.extend(number.to_be_bytes());
            }
            Field::Map(fields) => {
                control(7, fields.len(), into);
                for (key, value) in fields {
                    Field::Text(key).write(into);
                    value.write(into);
                }
            }
            Field::List(values) => {
                control(11, values.len(), into);
                values.iter().for_each(|value| value.write(into));
            }
        }
    }
}

/// A database of IPv4 networks in the IPv6 tree, as MaxMind's are. Networks must not contain one another.
pub fn database(records: &[(&str, Field)]) -> Vec<u8> {
    // Each node has two sides: nothing, a node, or data at an offset.
    #[derive(Clone, Copy)]
    enum Side {
        Nothing,
        Node(usize),
        Data(usize),
    }
    let mut nodes = vec![[Side::Nothing; 2]];
    let mut data = Vec::new();
    for (network, record) in records {
        let IpNet::V4(network) = network.parse().unwrap() else {
            panic!("IPv4 only")
        };
        let offset = data.len();
        record.write(&mut data);
        let address = u128::from(u32::from(network.addr()));
        let length = 96 + usize::from(network.prefix_len());
        let mut at = 0;
        for depth in 0..length {
            let bit = (address >> (127 - depth) & 1) as usize;
            if depth + 1 == length {
                nodes[at][bit] = Side::Data(offset);
            } else {
                at = match nodes[at][bit] {
                    Side::Node(next) => next,
                    Side::Nothing => {
                        nodes.push([Side::Nothing; 2]);
                        nodes[at][bit] = Side::Node(nodes.len() - 1);
                        nodes.len() - 1
                    }
                    Side::Data(_) => panic!("networks contain one another"),
                };
            }
        }
    }
    let count = nodes.len();
    let mut bytes = Vec::new();
    for side in nodes.iter().flatten() {
        let value = match side {
            Side::Nothing => count,
            Side::Node(node) => *node,
            Side::Data(offset) => count + 16 + offset,
        };
        bytes.extend(&(value as u32).to_be_bytes()[1..]);
    }
    bytes.extend([0; 16]);
    bytes.extend(data);
    bytes.extend(b"\xab\xcd\xefMaxMind.com");
    let short = |number: u16, into: &mut Vec<u8>| {
        control(5, 2, into);
        into.extend(number.to_be_bytes());
    };
    control(7, 9, &mut bytes);
    let mut key = |name: &'static str, value: &dyn Fn(&mut Vec<u8>)| {
        Field::Text(name).write(&mut bytes);
        value(&mut bytes);
    };
    key("node_count", &|into| Field::Number(count as u32).write(into));
    key("record_size", &|into| short(24, into));
    key("ip_version", &|into| short(6, into));
    key("database_type", &|into| Field::Text("Test-Country").write(into));
    key("languages", &|into| {
        Field::List(vec![Field::Text("en")]).write(into)
    });
    key("binary_format_major_version", &|into| short(2, into));
    key("binary_format_minor_version", &|into| short(0, into));
    key("build_epoch", &|into| {
        control(9, 8, into);
        into.extend(1_767_225_600u64.to_be_bytes());
    });
    key("description", &|into| {
        Field::Map(vec![("en", Field::Text("of a test"))]).write(into);
    });
    bytes
}

fn country(code: &'static str) -> Field {
    Field::Map(vec![(
        "country",
        Field::Map(vec![("iso_code", Field::Text(code))]),
    )])
}

fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    file
}

fn settings(database: &tempfile::NamedTempFile) -> RegionSettings {
    RegionSettings {
        database: Some(database.path().to_owned()),
        ..RegionSettings::default()
    }
}

#[test]
fn a_database_tells_the_country_or_whatever_is_asked_for() {
    let file = file(&database(&[
        ("192.0.2.0/24", country("DE")),
        ("198.51.100.0/25", country("JP")),
        (
            "203.0.113.0/24",
            Field::Map(vec![
                (
                    "subdivisions",
                    Field::List(vec![Field::Map(vec![("iso_code", Field::Text("BY"))])]),
                ),
                ("geoname_id", Field::Number(77)),
            ]),
        ),
    ]));
    let of = |path: &[&str], address: &str| {
        let settings = RegionSettings {
            database_path: path.iter().map(|part| (*part).to_owned()).collect(),
            ..settings(&file)
        };
        let database = RegionSources::load(&settings).unwrap().database.unwrap();
        database
            .region(address.parse().unwrap())
            .map(|name| name.to_string())
    };
    let country = ["country", "iso_code"];
    assert_eq!(of(&country, "192.0.2.9").as_deref(), Some("DE"));
    assert_eq!(of(&country, "198.51.100.127").as_deref(), Some("JP"));
    assert_eq!(of(&country, "198.51.100.128"), None);
    assert_eq!(of(&country, "203.0.113.1"), None);
    assert_eq!(
        of(&["subdivisions", "0", "iso_code"], "203.0.113.1").as_deref(),
        Some("BY")
    );
    assert_eq!(of(&["geoname_id"], "203.0.113.1").as_deref(), Some("77"));
}

#[test]
fn what_is_damaged_or_has_nothing_is_refused_with_its_name() {
    let whole = database(&[("192.0.2.0/24", country("DE"))]);
    let refused = |bytes: &[u8]| {
        let file = file(bytes);
        let message = RegionSources::load(&settings(&file)).unwrap_err().to_string();
        assert!(message.contains(&file.path().display().to_string()), "{message}");
        message
    };
    assert!(refused(b"").contains("no usable MaxMind database"));
    assert!(refused(&whole[..whole.len() / 2]).contains("no usable MaxMind database"));
    // The record's own bytes: the text claims to be longer than the file.
    let mut bent = whole.clone();
    let at = bent.windows(2).position(|pair| pair == b"DE").unwrap();
    bent[at - 1] = 0xff;
    assert!(refused(&bent).contains("no usable MaxMind database"));
    let other = file(&database(&[(
        "192.0.2.0/24",
        Field::Map(vec![("city", Field::Text("Ulm"))]),
    )]));
    let message = RegionSources::load(&settings(&other)).unwrap_err().to_string();
    assert!(
        message.contains("Test-Country") && message.contains("iso_code"),
        "{message}"
    );
    let missing = RegionSettings {
        database: Some("/nowhere/at/all.mmdb".into()),
        ..RegionSettings::default()
    };
    let message = RegionSources::load(&missing).unwrap_err().to_string();
    assert!(message.contains("cannot read /nowhere/at/all.mmdb"), "{message}");
}

#[test]
fn a_damaged_list_is_refused_with_its_line() {
    for (bytes, part) in [
        (
            &b"10.0.0.0/8 a\n10.0.0.0/99 b\n"[..],
            ": line 2: `10.0.0.0/99` is no network",
        ),
        (b"10.0.0.0/8 a\n\n192.0.2.0/24 \xff\n", ": line 3: not UTF-8"),
    ] {
        let file = file(bytes);
        let settings = RegionSettings {
            file: Some(file.path().to_owned()),
            ..RegionSettings::default()
        };
        let message = RegionSources::load(&settings).unwrap_err().to_string();
        assert!(
            message.contains(part) && message.contains(&file.path().display().to_string()),
            "{message}"
        );
    }
}

proptest! {
    #[test]
    fn a_database_with_a_bent_byte_is_refused_or_answers(at in any::<prop::sample::Index>(), bits in 1u8..) {
        let mut bytes = database(&[("192.0.2.0/24", country("DE")), ("198.51.100.0/25", country("JP"))]);
        let at = at.index(bytes.len());
        bytes[at] ^= bits;
        let file = file(&bytes);
        if let Ok(sources) = RegionSources::load(&settings(&file)) {
            let _ = sources.database.unwrap().region([192, 0, 2, 1].into());
        }
    }
}
