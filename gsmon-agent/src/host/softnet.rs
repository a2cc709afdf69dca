//! Packets that the host's network stack has received, all namespaces and devices together: `/proc/net/softnet_stat`.
//!
//! A packet counts once per device that hands it up: one for a container comes through the machine's interface, a bridge
//! and a veth pair, and is processed at each. Aggregated packets (GRO) count once.

use std::{fs::File, io, os::unix::fs::FileExt};

/// Longer than the table of the largest machine: a line has about 130 bytes.
const LONGEST: usize = 1 << 20;

/// The table, kept open, and what has been added up of it.
#[derive(Debug, Default)]
pub struct SoftnetTable {
    file: Option<File>,
    before: Vec<u32>,
    total: u64,
    buffer: Vec<u8>,
}

impl SoftnetTable {
    /// Packets processed since the first reading; `None` where it cannot be read.
    pub fn packets(&mut self) -> Option<u64> {
        let counts = self.read().ok().and_then(|text| parse(&text));
        let Some(counts) = counts else {
            self.file = None;
            return None;
        };
        // CPUs that come or go move the lines.
        if counts.len() == self.before.len() {
            for (now, before) in counts.iter().zip(&self.before) {
                self.total += u64::from(now.wrapping_sub(*before));
            }
        }
        self.before = counts;
        Some(self.total)
    }

    fn read(&mut self) -> io::Result<String> {
        let file = match &self.file {
            Some(file) => file,
            None => self.file.insert(File::open("/proc/net/softnet_stat")?),
        };
        self.buffer.resize(self.buffer.len().max(8_192), 0);
        let mut length = 0;
        loop {
            match file.read_at(&mut self.buffer[length..], length as u64)? {
                0 => break,
                more => length += more,
            }
            if length == self.buffer.len() {
                if length >= LONGEST {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                self.buffer.resize(2 * length, 0);
            }
        }
        Ok(String::from_utf8_lossy(&self.buffer[..length]).into_owned())
    }
}

/// First column of each line: packets processed, 32 bits in hexadecimal, which wrap.
fn parse(text: &str) -> Option<Vec<u32>> {
    let counts: Vec<u32> = text
        .lines()
        .map(|line| u32::from_str_radix(line.split(' ').next()?, 16).ok())
        .collect::<Option<_>>()?;
    (!counts.is_empty()).then_some(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_datagram_over_loopback_is_processed() {
        let mut table = SoftnetTable::default();
        let before = table.packets().unwrap();
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..500 {
            socket.send_to(&[0; 10], socket.local_addr().unwrap()).unwrap();
        }
        assert!(table.packets().unwrap() >= before + 500);
    }

    #[test]
    fn counters_wrap_and_lines_that_move_add_nothing() {
        assert_eq!(parse("0000000a 00 00\nffffffff 00\n").unwrap(), [10, u32::MAX]);
        assert_eq!(parse(""), None);
        assert_eq!(parse("nothing here\n"), None);
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[0-9a-fx \n]{0,200}") {
            let _ = parse(&text);
        }
    }
}
