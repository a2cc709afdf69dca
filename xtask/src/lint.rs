//! `cargo xtask clippy` and `cargo xtask fmt`, for the user workspace and the kernel crate.

use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::root;

/// Write or only look?
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fmt {
    /// Rewrite files.
    Write,
    /// Say what differs.
    Check,
}

/// rustfmt.
pub fn fmt(mode: Fmt) -> Result<ExitCode> {
    let mut fine = true;
    for directory in [root(), root().join("gsmon-ebpf")] {
        let mut command = Command::new("cargo");
        command.current_dir(directory).args(["fmt", "--all"]);
        if mode == Fmt::Check {
            command.arg("--check");
        }
        fine &= command.status()?.success();
    }
    Ok(if fine {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// clippy, in two calls: one call would unify features and bring two panic handlers together.
///
/// The kernel crate is linted for the host's target without std's panic handler in the way (`--cfg` of the crate), by
/// the stable clippy: Debian's compiler for the BPF target comes without one.
pub fn clippy() -> Result<ExitCode> {
    let user = Command::new("cargo")
        .current_dir(root())
        .args([
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--",
            "-D",
            "warnings",
        ])
        .status()?;
    let kernel = Command::new("cargo")
        .current_dir(root().join("gsmon-ebpf"))
        .args(["clippy", "--release", "--locked", "--target-dir"])
        .arg(root().join("target/ebpf-clippy"))
        .args(["--", "-D", "warnings", "-C", "panic=abort"])
        .env_remove("RUSTUP_TOOLCHAIN")
        .env("RUSTC_BOOTSTRAP", "1")
        .status()?;
    Ok(if user.success() && kernel.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
