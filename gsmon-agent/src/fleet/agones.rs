//! `POST /agones/v1/fleetautoscaler`: the webhook of an Agones FleetAutoscaler, answered from the last plan. Whatever is not
//! known, what runs stays; a review that cannot be read is refused, and nothing is ever scaled by it. Not here: plans
//! (`plan`).

use std::sync::Arc;

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State, rejection::BytesRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::post,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::plan::{Heard, PlanBoard, Plans};
use crate::config::AgonesEntry;

/// A review may have so many bytes.
const MOST_BYTES: usize = 1 << 20;

/// What Agones asks; fields that do not matter here are passed on and not looked at.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ReviewRequest {
    /// Of this review; the answer has the same.
    pub uid: String,
    /// Name of the Fleet.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// What runs.
    pub status: FleetStatus,
}

/// What runs of a Fleet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FleetStatus {
    /// All of them.
    pub replicas: u32,
    /// Ready for players.
    #[serde(default)]
    pub ready_replicas: u32,
    /// Reserved.
    #[serde(default)]
    pub reserved_replicas: u32,
    /// With players.
    #[serde(default)]
    pub allocated_replicas: u32,
}

/// What Agones is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReviewResponse {
    /// That of the request.
    pub uid: String,
    /// Is the number to change?
    pub scale: bool,
    /// The number.
    pub replicas: u32,
}

/// Why a review is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReviewError {
    /// No JSON, or too much of it.
    #[error("the review cannot be read: {0}")]
    Body(String),
    /// No `request`.
    #[error("the review has no `request`: send a FleetAutoscaleReview")]
    NoRequest,
    /// A field is missing or cannot be meant.
    #[error("`request` cannot be meant: {0}")]
    Request(String),
    /// Numbers that contradict each other.
    #[error(
        "`request.status` contradicts itself: {allocated} allocated and {reserved} reserved of {replicas} replicas"
    )]
    Status {
        /// All.
        replicas: u32,
        /// With players.
        allocated: u32,
        /// Reserved.
        reserved: u32,
    },
    /// No entry.
    #[error(
        "no [[agones]] entry is for fleet `{fleet}` in namespace `{namespace}`: add one, until then it stays as it is"
    )]
    Unknown {
        /// Namespace.
        namespace: String,
        /// Fleet.
        fleet: String,
    },
}

/// Reads a review: the whole of it, to be sent back, and what it asks.
///
/// # Errors
/// Says what is wrong.
pub fn parse(body: &[u8]) -> Result<(Value, ReviewRequest), ReviewError> {
    let review: Value = serde_json::from_slice(body).map_err(|error| ReviewError::Body(error.to_string()))?;
    let asked = review
        .get("request")
        .filter(|request| request.is_object())
        .ok_or(ReviewError::NoRequest)?;
    let request =
        ReviewRequest::deserialize(asked).map_err(|error| ReviewError::Request(error.to_string()))?;
    for (field, word) in [
        ("uid", &request.uid),
        ("name", &request.name),
        ("namespace", &request.namespace),
    ] {
        if word.is_empty() {
            return Err(ReviewError::Request(format!("`{field}` is empty")));
        }
    }
    let status = request.status;
    // Game servers that end are counted in neither for a moment: only what cannot be is refused.
    if u64::from(status.allocated_replicas) + u64::from(status.reserved_replicas)
        > u64::from(status.replicas).saturating_mul(2) + 100
    {
        return Err(ReviewError::Status {
            replicas: status.replicas,
            allocated: status.allocated_replicas,
            reserved: status.reserved_replicas,
        });
    }
    Ok((review, request))
}

/// How many there shall be.
pub fn decide(
    entry: &AgonesEntry,
    status: FleetStatus,
    plans: &Plans,
    now_unix_ms: i64,
    longest_age: std::time::Duration,
) -> u32 {
    let runs = status.replicas;
    let Some((plan, wanted)) = plans
        .newest(now_unix_ms, longest_age)
        .and_then(|plan| Some((plan, plan.wanted(now_unix_ms)?)))
    else {
        // Keep what runs, but no fewer than must run.
        return runs.max(entry.minimum);
    };
    let wanted = match plan.heard {
        // Of more nobody knows that they are not needed.
        Heard::Some => wanted.max(runs),
        Heard::All => wanted,
    };
    let late = if wanted < runs {
        // Not before every plan of the delay has wanted fewer.
        plans
            .most_within(now_unix_ms, entry.scale_down_delay)
            .map_or(runs, |most| most.clamp(wanted, runs))
    } else {
        wanted
    };
    // Those with players are not taken away, and some are kept ready for the next.
    let taken = status
        .allocated_replicas
        .saturating_add(status.reserved_replicas)
        .saturating_add(plan.least_ready);
    late.max(taken).clamp(entry.minimum, entry.maximum)
}

/// The route.
pub fn router(board: Arc<PlanBoard>) -> Router {
    Router::new()
        .route("/agones/v1/fleetautoscaler", post(review))
        .layer(DefaultBodyLimit::max(MOST_BYTES))
        .with_state(board)
}

async fn review(State(board): State<Arc<PlanBoard>>, body: Result<Bytes, BytesRejection>) -> Response {
    let body = match body {
        Ok(body) => body,
        Err(error) => {
            return refuse(
                StatusCode::PAYLOAD_TOO_LARGE,
                &ReviewError::Body(error.to_string()),
                &[],
            );
        }
    };
    let (mut review, request) = match parse(&body) {
        Ok(parsed) => parsed,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, &error, &[]),
    };
    let Some((entry, plans, longest_age)) = board.of(&request.namespace, &request.name) else {
        let error = ReviewError::Unknown {
            namespace: request.namespace,
            fleet: request.name,
        };
        return refuse(StatusCode::NOT_FOUND, &error, &board.fleets());
    };
    let now_unix_ms = jiff::Timestamp::now().as_millisecond();
    let runs = request.status.replicas;
    let replicas = decide(&entry, request.status, &plans, now_unix_ms, longest_age);
    if replicas != runs {
        tracing::info!(
            fleet = entry.fleet,
            from = runs,
            to = replicas,
            "Agones is told to scale"
        );
    } else if let Some(why) = plans.trouble() {
        tracing::debug!(fleet = entry.fleet, "no new plan: {why}");
    }
    let response = ReviewResponse {
        uid: request.uid,
        scale: replicas != runs,
        replicas,
    };
    match (serde_json::to_value(response), review.as_object_mut()) {
        (Ok(response), Some(review)) => {
            review.insert("response".to_owned(), response);
        }
        _ => {
            return refuse(StatusCode::BAD_REQUEST, &ReviewError::NoRequest, &[]);
        }
    }
    Json(review).into_response()
}

fn refuse(status: StatusCode, error: &ReviewError, known: &[String]) -> Response {
    tracing::warn!("a review of Agones is refused: {error}");
    (
        status,
        Json(serde_json::json!({ "error": error.to_string(), "known": known })),
    )
        .into_response()
}
