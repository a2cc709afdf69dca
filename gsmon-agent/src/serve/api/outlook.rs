//! `GET /api/v1/forecast`, `GET /api/v1/recommendation` and, for fleets, `GET /api/v1/demand`. Who can tell is asked through
//! [`Outlook`]. Not here: forecasts and advice (the analysis room, asked by the monitor).

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::sync::Semaphore;

use super::{Parameters, Refusal, read};
use crate::serve::metrics::OutlookFigures;

/// Answers that are worked out at a time, and how long one may take: months of history are read for it.
const AT_A_TIME: usize = 2;
const TIMEOUT: Duration = Duration::from_secs(60);

/// Whose players.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Whose {
    /// Of all servers.
    #[default]
    All,
    /// Of one server.
    Server(String),
    /// Of all servers while they play a mode.
    Mode(String),
    /// Of all servers of a region.
    Region(String),
}

/// What is asked of a recommendation. Absent is as the command line has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecommendationAsked {
    /// Hours to look ahead.
    pub forecast_hours: Option<u32>,
    /// `smooth`, `responsive` or `economical`.
    pub target_player_experience: Option<String>,
    /// Are costs to be told?
    pub costs: CostsAsked,
}

/// Are costs to be told?
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CostsAsked {
    /// No.
    #[default]
    No,
    /// As far as there are prices.
    Yes,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum OutlookError {
    /// It cannot be meant.
    #[error("{error}")]
    Meant {
        /// Why.
        error: String,
        /// What would have been right.
        known: Vec<String>,
    },
    /// No such server, mode or region.
    #[error("{error}")]
    Unknown {
        /// Which.
        error: String,
        /// Those that there are.
        known: Vec<String>,
    },
    /// Nothing can be told yet.
    #[error("{0}")]
    NotYet(String),
    /// History cannot be read, or the answer not be written.
    #[error("{0}")]
    Failed(String),
}

/// Tells what will come. Answers are JSON; each may take seconds.
pub trait Outlook: Send + Sync {
    /// Players of the next hours.
    ///
    /// # Errors
    /// When nothing can be told, with what to do.
    fn forecast(&self, whose: &Whose, hours: usize) -> Result<Vec<u8>, OutlookError>;

    /// What to run.
    ///
    /// # Errors
    /// As [`Self::forecast`].
    fn recommendation(&self, asked: &RecommendationAsked) -> Result<Vec<u8>, OutlookError>;

    /// What was seen of each mode and region, for whoever sums it over hosts; capacity is that of an experience.
    ///
    /// # Errors
    /// As [`Self::forecast`].
    fn demand(&self, experience: Option<&str>) -> Result<Vec<u8>, OutlookError>;

    /// The newest figures that were worked out for metrics, where there are any.
    fn figures(&self) -> Option<Arc<OutlookFigures>>;
}

#[derive(Clone)]
struct Asking {
    outlook: Arc<dyn Outlook>,
    places: Arc<Semaphore>,
}

/// The routes of the socket.
pub fn router(outlook: Arc<dyn Outlook>) -> Router {
    Router::new()
        .route("/api/v1/forecast", get(forecast))
        .route("/api/v1/recommendation", get(recommendation))
        .route("/api/v1/demand", get(demand))
        .with_state(Asking::of(outlook))
}

/// What a fleet may read: how many play what, and nobody's name.
pub fn fleet_router(outlook: Arc<dyn Outlook>) -> Router {
    Router::new()
        .route("/api/v1/demand", get(demand))
        .with_state(Asking::of(outlook))
}

impl Asking {
    fn of(outlook: Arc<dyn Outlook>) -> Self {
        Self {
            outlook,
            places: Arc::new(Semaphore::new(AT_A_TIME)),
        }
    }

    async fn answer(
        self,
        work: impl FnOnce(&dyn Outlook) -> Result<Vec<u8>, OutlookError> + Send + 'static,
    ) -> Response {
        let made = async {
            let place = self.places.acquire_owned().await.ok()?;
            let outlook = self.outlook;
            let made = tokio::task::spawn_blocking(move || {
                let _place = place;
                work(&*outlook)
            });
            made.await.ok()
        };
        match tokio::time::timeout(TIMEOUT, made).await {
            Ok(Some(Ok(body))) => ([(header::CONTENT_TYPE, "application/json")], body).into_response(),
            Ok(Some(Err(error))) => refused(&error),
            Ok(None) => Refusal::Answer.into_response(),
            Err(_) => refused(&OutlookError::NotYet(
                "it takes too long: is the host overloaded? Try again".to_owned(),
            )),
        }
    }
}

fn refused(error: &OutlookError) -> Response {
    let (status, known): (_, &[String]) = match error {
        OutlookError::Meant { known, .. } => (StatusCode::BAD_REQUEST, known),
        OutlookError::Unknown { known, .. } => (StatusCode::NOT_FOUND, known),
        OutlookError::NotYet(_) => (StatusCode::SERVICE_UNAVAILABLE, &[]),
        OutlookError::Failed(_) => (StatusCode::INTERNAL_SERVER_ERROR, &[]),
    };
    let body = serde_json::json!({ "error": error.to_string(), "known": known });
    (status, Json(body)).into_response()
}

fn meant(error: impl Into<String>, known: &[&str]) -> Response {
    refused(&OutlookError::Meant {
        error: error.into(),
        known: known.iter().map(|&word| word.to_owned()).collect(),
    })
}

async fn forecast(State(asking): State<Asking>, query: Parameters) -> Response {
    let given = match read(query, &["server", "mode", "region", "hours"]) {
        Ok(given) => given,
        Err(refusal) => return refusal.into_response(),
    };
    let (mut whose, mut hours) = (Whose::All, 24);
    for (name, value) in given.into_iter().filter(|(_, value)| !value.is_empty()) {
        if name == "hours" {
            match value.parse() {
                Ok(number) if (1..=168).contains(&number) => hours = number,
                _ => return meant("`hours` must be a whole number, 1 to 168", &["hours"]),
            }
            continue;
        }
        if whose != Whose::All {
            return meant(
                "give only one of server, mode and region",
                &["server", "mode", "region"],
            );
        }
        whose = match name.as_str() {
            "server" => Whose::Server(value),
            "mode" => Whose::Mode(value),
            _ => Whose::Region(value),
        };
    }
    asking
        .answer(move |outlook| outlook.forecast(&whose, hours))
        .await
}

async fn recommendation(State(asking): State<Asking>, query: Parameters) -> Response {
    const KNOWN: &[&str] = &[
        "forecast_hours",
        "target_player_experience",
        "include_cost_analysis",
    ];
    let given = match read(query, KNOWN) {
        Ok(given) => given,
        Err(refusal) => return refusal.into_response(),
    };
    let mut asked = RecommendationAsked::default();
    for (name, value) in given.into_iter().filter(|(_, value)| !value.is_empty()) {
        match name.as_str() {
            "forecast_hours" => match value.parse() {
                Ok(number) if (1..=168).contains(&number) => asked.forecast_hours = Some(number),
                _ => {
                    return meant(
                        "`forecast_hours` must be a whole number, 1 to 168",
                        &["forecast_hours"],
                    );
                }
            },
            "target_player_experience" => asked.target_player_experience = Some(value),
            _ => match value.as_str() {
                "true" => asked.costs = CostsAsked::Yes,
                "false" => asked.costs = CostsAsked::No,
                _ => {
                    return meant(
                        "`include_cost_analysis` must be true or false",
                        &["true", "false"],
                    );
                }
            },
        }
    }
    asking.answer(move |outlook| outlook.recommendation(&asked)).await
}

async fn demand(State(asking): State<Asking>, query: Parameters) -> Response {
    let given = match read(query, &["target_player_experience"]) {
        Ok(given) => given,
        Err(refusal) => return refusal.into_response(),
    };
    let experience = given
        .into_iter()
        .map(|(_, value)| value)
        .find(|value| !value.is_empty());
    asking
        .answer(move |outlook| outlook.demand(experience.as_deref()))
        .await
}
