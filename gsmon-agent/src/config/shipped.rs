//! The examples that ship with gsmon must be ones that gsmon accepts.

#[test]
fn the_example_configuration_is_accepted() {
    let text = include_str!("../../../packaging/gsmon.example.toml");
    let config = super::Config::parse(text, std::path::Path::new("gsmon.example.toml")).unwrap();
    assert_eq!(config.servers.len(), 3);
}

#[test]
fn the_example_of_a_fleet_is_accepted() {
    let text = include_str!("../../../packaging/gsmon-fleet.example.toml");
    let config = super::FleetConfig::parse(text, std::path::Path::new("gsmon-fleet.example.toml")).unwrap();
    assert_eq!(config.agents.len(), 2);
    assert_eq!(config.fleet, super::FleetSettings::default());
    assert_eq!(config.listen, super::FleetListen::default());
}
