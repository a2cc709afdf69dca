//! Examples (here and in the documentation), the queue, properties, and the schema held against the parser.

mod examples;
mod properties;
mod queue;

use serde_json::Value;

use super::{ParseError, Pushed, parse};

const NOW: i64 = 1_900_000_000_000;

fn read(body: &Value) -> Result<Vec<Pushed>, ParseError> {
    parse(body.to_string().as_bytes(), NOW)
}

fn schema() -> jsonschema::Validator {
    let text = include_str!("../../../../../docs/push.schema.json");
    let schema: Value = serde_json::from_str(text).unwrap();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    jsonschema::meta::validate(&schema).unwrap();
    jsonschema::validator_for(&schema).unwrap()
}
