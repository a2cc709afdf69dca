//! `cargo xtask test`: nextest where it is installed, else cargo test; a JUnit and a JSON report either way of nextest.

use std::{
    fs,
    process::{Command, ExitCode},
};

use anyhow::{Context, Result};
use serde_json::json;

use crate::root;

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  cargo xtask test\n  cargo xtask test -- kernel")]
pub struct TestArgs {
    /// Handed to the runner.
    #[arg(last = true)]
    runner: Vec<String>,
}

pub fn run(args: &TestArgs) -> Result<ExitCode> {
    // Integration tests start the real binary.
    let built = Command::new("cargo")
        .current_dir(root())
        .args(["build", "--release", "--locked", "-p", "gsmon-agent"])
        .status()?;
    if !built.success() {
        return Ok(ExitCode::FAILURE);
    }
    let gsmon = root().join("target/release/gsmon");
    let has_nextest = Command::new("cargo")
        .args(["nextest", "--version"])
        .output()
        .is_ok_and(|output| output.status.success());
    let reports = root().join("target/test-report");
    fs::create_dir_all(&reports)?;
    eprintln!("reports: {}", reports.display());
    let mut command = Command::new("cargo");
    command.current_dir(root()).env("GSMON_BIN", &gsmon);
    if has_nextest {
        command.args(["nextest", "run", "--workspace", "--locked", "--profile", "ci"]);
    } else {
        command.args(["test", "--workspace", "--locked"]);
    }
    // cargo test would run tests of the kernel side at once; they share one kernel.
    let status = command
        .env("RUST_TEST_THREADS", "1")
        .args(&args.runner)
        .status()?;
    if has_nextest {
        let junit = root().join("target/nextest/ci/junit.xml");
        fs::copy(&junit, reports.join("junit.xml")).context("the runner left no junit.xml")?;
        let report = summary(&fs::read_to_string(&junit)?)?;
        fs::write(
            reports.join("report.json"),
            serde_json::to_string_pretty(&report)?,
        )?;
    }
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The JUnit report as one JSON document.
fn summary(junit: &str) -> Result<serde_json::Value> {
    let document = roxmltree::Document::parse(junit)?;
    let mut tests = Vec::new();
    let (mut passed, mut failed, mut skipped, mut flaky) = (0, 0, 0, 0);
    for case in document
        .descendants()
        .filter(|node| node.has_tag_name("testcase"))
    {
        let has = |tag: &str| case.children().any(|child| child.has_tag_name(tag));
        let status = if has("failure") || has("error") {
            failed += 1;
            "failed"
        } else if has("skipped") {
            skipped += 1;
            "skipped"
        } else {
            passed += 1;
            "passed"
        };
        // Passed at the second attempt.
        let was_flaky = has("flakyFailure") || has("flakyError");
        flaky += u64::from(was_flaky);
        tests.push(json!({
            "suite": case.attribute("classname"),
            "name": case.attribute("name"),
            "status": status,
            "flaky": was_flaky,
            "seconds": case.attribute("time").and_then(|time| time.parse::<f64>().ok()),
        }));
    }
    Ok(json!({ "passed": passed, "failed": failed, "skipped": skipped, "flaky": flaky, "tests": tests }))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_report_counts_what_happened() {
        let junit = r#"<testsuites><testsuite name="s"><testcase classname="s" name="a" time="0.5"/>
            <testcase classname="s" name="b"><failure/></testcase>
            <testcase classname="s" name="c"><flakyFailure/></testcase></testsuite></testsuites>"#;
        let report = super::summary(junit).unwrap();
        assert_eq!(
            (report["passed"].as_u64(), report["failed"].as_u64()),
            (Some(2), Some(1))
        );
        assert_eq!(report["flaky"], 1);
        assert_eq!(report["tests"][2]["flaky"], true);
        assert_eq!(report["tests"][0]["seconds"], 0.5);
    }
}
