//! What a Prometheus-compatible server answers, read with bounds. Not here: asking (`web`), meaning (`frames`).

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, Visitor},
};

/// Series in one answer at most.
const MOST_SERIES: usize = 20_000;

/// Why an answer cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// It says no itself.
    #[error("it refuses: {0}")]
    Refused(String),
    /// Not what was asked for.
    #[error(
        "its answer is none of Prometheus' API ({0}): is it the address of a Prometheus-compatible server?"
    )]
    Unreadable(String),
    /// Too many.
    #[error("its answer has more than {MOST_SERIES} series: ask for one server")]
    TooMany,
}

/// A value at a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Milliseconds since the Unix epoch.
    pub unix_ms: i64,
    /// NaN and infinities included.
    pub value: f64,
}

/// Labels, the name of the metric as `__name__` among them.
pub type Labels = BTreeMap<String, String>;

/// A series with its samples, oldest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// Labels.
    pub labels: Labels,
    /// One for an instant.
    pub samples: Vec<Sample>,
}

impl Row {
    /// A label, empty where there is none.
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

/// Prometheus writes values as text, for NaN and infinities.
struct Value(f64);

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Value;
            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a number as text")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Value, E> {
                text.parse()
                    .map(Value)
                    .map_err(|_| E::custom(format!("`{text}` is no number")))
            }
        }
        input.deserialize_str(Text)
    }
}

impl<'de> Deserialize<'de> for Sample {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let (seconds, Value(value)) = <(f64, Value)>::deserialize(input)?;
        let ms = seconds * 1e3;
        match ms.abs() < 9e15 {
            true => Ok(Self {
                unix_ms: ms.round() as i64,
                value,
            }),
            false => Err(D::Error::custom("a time that is none")),
        }
    }
}

#[derive(Deserialize)]
struct Answer<T> {
    status: String,
    data: Option<T>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct Data {
    result: Vec<Told>,
}

#[derive(Deserialize)]
struct Told {
    metric: Labels,
    #[serde(default)]
    values: Vec<Sample>,
    value: Option<Sample>,
}

fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, AnswerError> {
    let unreadable = |error: serde_json::Error| AnswerError::Unreadable(error.to_string());
    let answer: Answer<T> = serde_json::from_slice(body).map_err(unreadable)?;
    match (answer.status.as_str(), answer.data) {
        ("success", Some(data)) => Ok(data),
        (status, _) => Err(AnswerError::Refused(
            answer.error.unwrap_or_else(|| format!("status `{status}`")),
        )),
    }
}

/// Vectors and matrices.
///
/// # Errors
/// When it is a refusal, something else, or too much.
pub fn rows(body: &[u8]) -> Result<Vec<Row>, AnswerError> {
    let data: Data = read(body)?;
    if data.result.len() > MOST_SERIES {
        return Err(AnswerError::TooMany);
    }
    let rows = data.result.into_iter().map(|told| {
        let mut samples = told.values;
        samples.extend(told.value);
        Row {
            labels: told.metric,
            samples,
        }
    });
    Ok(rows.collect())
}

/// Labels of series.
///
/// # Errors
/// As [`rows`].
pub fn labels(body: &[u8]) -> Result<Vec<Labels>, AnswerError> {
    let labels: Vec<Labels> = read(body)?;
    match labels.len() > MOST_SERIES {
        true => Err(AnswerError::TooMany),
        false => Ok(labels),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn vectors_matrices_and_series_are_read() {
        let matrix = br#"{"status":"success","data":{"resultType":"matrix","result":[
            {"metric":{"__name__":"up","server":"a \"b\""},"values":[[1700000000.123,"1"],[1700000001.123,"NaN"],[1700000002,"+Inf"]]}]}}"#;
        let rows = rows(matrix).unwrap();
        assert_eq!((rows[0].label("server"), rows[0].label("x")), ("a \"b\"", ""));
        assert_eq!(rows[0].samples[0].unix_ms, 1_700_000_000_123);
        assert!(rows[0].samples[1].value.is_nan() && rows[0].samples[2].value.is_infinite());
        let vector = br#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"2.5"]}]},"warnings":["x"]}"#;
        assert_eq!(super::rows(vector).unwrap()[0].samples[0].value, 2.5);
        let series = br#"{"status":"success","data":[{"server":"a","instance":"h:1"}]}"#;
        assert_eq!(labels(series).unwrap()[0]["instance"], "h:1");
    }

    #[test]
    fn refusals_are_told_and_what_is_none_is_refused() {
        let refused = br#"{"status":"error","errorType":"bad_data","error":"parse error: x"}"#;
        assert!(rows(refused).unwrap_err().to_string().contains("parse error: x"));
        for body in [
            "",
            "[]",
            "<html>",
            r#"{"status":"success"}"#,
            r#"{"status":"success","data":{"resultType":"scalar","result":[1,"2"]}}"#,
            r#"{"status":"success","data":{"result":[{"metric":{},"value":[1e300,"1"]}]}}"#,
            r#"{"status":"success","data":{"result":[{"metric":{},"value":[1,"one"]}]}}"#,
        ] {
            assert!(rows(body.as_bytes()).is_err(), "{body}");
        }
        let many = vec!["{}"; MOST_SERIES + 1].join(",");
        let many = format!(r#"{{"status":"success","data":[{many}]}}"#);
        assert!(matches!(labels(many.as_bytes()), Err(AnswerError::TooMany)));
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(
            values in prop::collection::vec((0i64..4_000_000_000_000, any::<f64>()), 0..20),
            label in "\\PC{0,12}",
        ) {
            let told: Vec<serde_json::Value> = values
                .iter()
                .map(|(ms, value)| serde_json::json!([*ms as f64 / 1e3, value.to_string()]))
                .collect();
            let body = serde_json::json!({"status": "success", "data": {"resultType": "matrix",
                "result": [{"metric": {"server": label}, "values": told}]}});
            let rows = rows(body.to_string().as_bytes()).unwrap();
            prop_assert_eq!(rows[0].label("server"), label.as_str());
            for (sample, (ms, value)) in rows[0].samples.iter().zip(&values) {
                prop_assert_eq!(sample.unix_ms, *ms);
                prop_assert!(sample.value == *value || value.is_nan() && sample.value.is_nan());
            }
            prop_assert_eq!(rows[0].samples.len(), values.len());
        }

        #[test]
        fn no_answer_makes_it_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = rows(&body);
            let _ = labels(&body);
        }
    }
}
