use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, thread};

use proptest::prelude::*;

use super::*;

/// Programs that stand in for journalctl: what is tested is how this end deals with a child. The real one is run in the
/// package of integration tests.
fn script(directory: &Path, text: &str) -> JournalCommand {
    let program = directory.join("journalctl");
    fs::write(&program, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
    JournalCommand {
        program,
        directory: None,
    }
}

fn follower(command: JournalCommand, from: LogStart) -> JournalFollower {
    JournalFollower::new(command, "arena.service", from, None)
}

/// Turns until `done` or five seconds have passed.
fn turn_until(
    follower: &mut JournalFollower,
    now: Instant,
    mut done: impl FnMut(&[(i64, String)], Option<&JournalError>) -> bool,
) -> Vec<(i64, String)> {
    let mut said = Vec::new();
    for _ in 0..500 {
        let each = &mut |time: i64, line: &str| said.push((time, line.to_owned()));
        let result = follower.turn(now, 1 << 20, &mut [0; 4096], each);
        if done(&said, result.as_ref().err()) {
            return said;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("not done: {said:?}");
}

fn read(json: &str) -> (Vec<(i64, String)>, JournalFollower) {
    let mut follower = follower(JournalCommand::default(), LogStart::End);
    let mut said = Vec::new();
    follower.read(json.as_bytes(), &mut |time, line| {
        said.push((time, line.to_owned()))
    });
    (said, follower)
}

#[test]
fn every_form_of_a_message_is_read() {
    for (message, lines) in [
        (r#""text""#, &["text"][..]),
        (r#""say \"hi\" \u2764""#, &["say \"hi\" \u{2764}"]),
        ("[97,27,91,109,255,98]", &["a\u{fffd}b"]),
        (r#"["one",[116,119,111]]"#, &["one", "two"]),
        ("null", &[]),
        (r#""first\nsecond""#, &["first"]),
        (r#""only\n""#, &["only"]),
    ] {
        let json = format!(
            r#"{{"__CURSOR":"s=1;i=2","__REALTIME_TIMESTAMP":"1700000000123456","MESSAGE":{message}}}"#
        );
        let (said, follower) = read(&(json + "\n"));
        let expected: Vec<_> = lines
            .iter()
            .map(|line| (1_700_000_000_123, (*line).to_owned()))
            .collect();
        assert_eq!(said, expected, "{message}");
        assert_eq!(follower.cursor().unwrap().as_str(), "s=1;i=2");
        assert_eq!(follower.counts().lines, lines.len() as u64);
        assert_eq!(follower.counts().overlong, u64::from(message.contains("second")));
    }
}

#[test]
fn a_message_is_bounded() {
    let message = "x".repeat(LINE_LIMIT + 10);
    let json = format!(r#"{{"__CURSOR":"s=1","__REALTIME_TIMESTAMP":"1","MESSAGE":"{message}"}}"#);
    let (said, follower) = read(&(json + "\n"));
    assert_eq!(said[0].1.len(), LINE_LIMIT);
    assert_eq!(follower.counts().overlong, 1);
    let (said, follower) = read(&("x".repeat(ENTRY_LIMIT * 2) + "\n"));
    assert!(said.is_empty());
    assert_eq!((follower.counts().overlong, follower.counts().invalid), (1, 1));
}

#[test]
fn a_missing_journalctl_is_named() {
    let command = JournalCommand {
        program: "/nonexistent/journalctl".into(),
        directory: None,
    };
    let mut follower = follower(command, LogStart::End);
    let error = follower
        .turn(Instant::now(), 100, &mut [0; 100], &mut |_, _| ())
        .unwrap_err();
    assert!(error.to_string().contains("install"), "{error}");
}

#[test]
fn it_is_started_again_after_the_last_entry_with_a_growing_delay() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("arguments");
    let command = script(
        directory.path(),
        &format!(
            r#"echo "$@" >> {}
echo '{{"__CURSOR":"s=1;i=7","__REALTIME_TIMESTAMP":"1000","MESSAGE":"hello"}}'
echo 'no journal' >&2; exit 3"#,
            log.display()
        ),
    );
    let mut follower = follower(command, LogStart::End);
    let start = Instant::now();
    let mut complaint = String::new();
    let said = turn_until(&mut follower, start, |_, error| {
        complaint = error.map(ToString::to_string).unwrap_or_default();
        error.is_some()
    });
    assert_eq!(said, [(1, "hello".to_owned())]);
    assert!(
        complaint.contains("no journal") && complaint.contains('3'),
        "{complaint}"
    );
    // Not at once.
    let each = &mut |_, _: &str| ();
    assert!(follower.turn(start, 100, &mut [0; 100], each).is_ok());
    assert!(follower.ready_fd().is_none());
    turn_until(&mut follower, start + Duration::from_secs(2), |_, error| {
        error.is_some()
    });
    assert_eq!(follower.restarts(), 1);
    let arguments = fs::read_to_string(log).unwrap();
    let arguments: Vec<_> = arguments.lines().collect();
    assert!(arguments[0].contains("--lines=0") && arguments[0].contains("--unit=arena.service"));
    assert!(arguments[1].contains("--after-cursor=s=1;i=7"));
    for _ in 0..20 {
        let later = follower.not_before.unwrap();
        turn_until(&mut follower, later, |_, error| error.is_some());
    }
    assert!(follower.delay <= LONGEST_DELAY);
}

#[test]
fn it_is_killed_with_its_follower() {
    let directory = tempfile::tempdir().unwrap();
    let mut follower = follower(script(directory.path(), "exec sleep 600"), LogStart::End);
    let now = Instant::now();
    turn_until(&mut follower, now, |_, _| true);
    let pid = follower.running.as_ref().unwrap().child.id();
    drop(follower);
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
}

#[test]
fn a_chatty_child_does_not_block_on_its_errors() {
    let directory = tempfile::tempdir().unwrap();
    let command = script(
        directory.path(),
        r#"i=0; while [ $i -lt 3000 ]; do echo 'a complaint that fills the pipe of standard error' >&2; i=$((i+1)); done
echo '{"__CURSOR":"s=1","__REALTIME_TIMESTAMP":"1000","MESSAGE":"after"}'"#,
    );
    let mut follower = follower(command, LogStart::End);
    let said = turn_until(&mut follower, Instant::now(), |said, _| !said.is_empty());
    assert_eq!(said[0].1, "after");
}

proptest! {
    #[test]
    fn no_output_of_a_child_does_harm(bytes in proptest::collection::vec(any::<u8>(), 0..300), text in "[\\PC\n]{0,100}") {
        let mut follower = follower(JournalCommand::default(), LogStart::End);
        follower.read(&bytes, &mut |_, _| ());
        follower.read(b"\n", &mut |_, _| ());
        let message = serde_json::to_string(&text).unwrap();
        let json = format!("{{\"__CURSOR\":{message},\"__REALTIME_TIMESTAMP\":{message},\"MESSAGE\":{message}}}\n");
        let mut lines = Vec::new();
        follower.read(json.as_bytes(), &mut |_, line| lines.push(line.to_owned()));
        prop_assert_eq!(lines.len(), 1);
        prop_assert!(!lines[0].contains('\n'));
    }
}
