//! Exposing the newest snapshot and the last hour: Prometheus text and health over TCP, the JSON API over a Unix socket, and the client
//! side of that socket; a report for fleets over TLS; receiving what engines push. Not here: anything that is measured or computed.

mod api;
pub mod client;
pub mod http;
pub(crate) mod listener;
pub mod metrics;
pub mod push;
pub mod queue;
pub mod remote;
pub mod report;
pub mod secret;
pub mod tls;

pub use self::{
    api::outlook::{CostsAsked, Outlook, OutlookError, RecommendationAsked, Whose},
    client::{ClientError, Route, fetch, fetch_patiently, fetch_snapshot, send},
    http::{ServeError, Servers},
    queue::{QueueBook, QueueTold},
};
