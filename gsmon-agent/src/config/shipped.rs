//! The example that ships with gsmon must be one that gsmon accepts.

#[test]
fn the_example_configuration_is_accepted() {
    let text = include_str!("../../../packaging/gsmon.example.toml");
    let config = super::Config::parse(text, std::path::Path::new("gsmon.example.toml")).unwrap();
    assert_eq!(config.servers.len(), 3);
}
