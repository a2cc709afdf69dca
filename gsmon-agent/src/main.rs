fn main() -> std::process::ExitCode {
    gsmon_agent::cli::main()
}
