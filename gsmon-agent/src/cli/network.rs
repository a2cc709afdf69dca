//! `gsmon network [SERVER]`: the line of each player, from the running agent. Addresses are shown only when asked for.
//! With `--regions`, `--buckets` or `--plot` the last hour instead: what latency does to the server, as `gsmon analyze
//! network` tells it.

use std::{path::PathBuf, process::ExitCode};

use serde_json::{Value, json};

use super::{Failure, Outcome, SocketArg, analyze, print_json, runtime, source::SourceArgs};
use crate::{
    serve::{Route, fetch},
    top::{
        harmless::harmless,
        lines::{LINE_HEADINGS, line_cells, named_lines, netcode_text},
        table::{LINE, Room, TextColumn, table},
        units::number,
    },
    world::snapshot::{ServerSnapshot, Snapshot},
};

#[derive(Debug, clap::Args)]
pub struct NetworkArgs {
    /// This server only.
    server: Option<String>,
    /// With the players' addresses.
    #[arg(long, conflicts_with_all = ["regions", "buckets", "plot"])]
    addresses: bool,
    /// The last hour by region and latency.
    #[arg(long)]
    regions: bool,
    /// The last hour by latency; lower bounds of buckets, ms.
    #[arg(long, value_delimiter = ',', value_name = "MS,...")]
    buckets: Option<Vec<f64>>,
    /// The last hour of SERVER, drawn into this SVG file.
    #[arg(long, requires = "server", value_name = "FILE")]
    plot: Option<PathBuf>,
    /// One JSON document.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: SocketArg,
}

/// Are addresses shown?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Addresses {
    Shown,
    Hidden,
}

pub fn run(args: &NetworkArgs) -> Outcome {
    if args.regions || args.buckets.is_some() || args.plot.is_some() {
        return analyze::network::run(&analyze::network::NetworkArgs {
            range: None,
            server: args.server.clone(),
            regions: args.regions,
            buckets: args
                .buckets
                .clone()
                .unwrap_or_else(|| analyze::network::USUAL_BUCKETS_MS.to_vec()),
            json: args.json,
            plot: args.plot.clone(),
            source: SourceArgs::default(),
            socket: args.socket.clone(),
        });
    }
    let addresses = match args.addresses {
        true => Addresses::Shown,
        false => Addresses::Hidden,
    };
    let snapshot: Snapshot = runtime()?.block_on(fetch(&args.socket.socket, &Route::to(&["snapshot"])))?;
    let servers: Vec<&ServerSnapshot> = match &args.server {
        None => snapshot.servers.iter().collect(),
        Some(name) => {
            let found = snapshot.servers.iter().find(|server| server.name == *name);
            vec![found.ok_or_else(|| {
                Failure::Usage(anyhow::anyhow!(
                    "there is no server `{name}`: gsmon top --once lists them"
                ))
            })?]
        }
    };
    if args.json {
        let document: Vec<Value> = servers.iter().map(|server| document(server, addresses)).collect();
        print_json(&document)?;
    } else {
        for server in &servers {
            print!("{}", text(server, addresses));
        }
        if servers.is_empty() {
            println!("there are no servers");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn document(server: &ServerSnapshot, addresses: Addresses) -> Value {
    let mut network = json!(server.network);
    let names: Vec<String> = named_lines(server).into_iter().map(|(name, _)| name).collect();
    if let Some(lines) = network.get_mut("lines").and_then(Value::as_array_mut) {
        for (line, name) in lines.iter_mut().zip(names) {
            if let Some(fields) = line.as_object_mut() {
                fields.insert("player".into(), name.into());
                if addresses == Addresses::Hidden {
                    fields.remove("remote");
                }
            }
        }
    }
    json!({ "server": server.name, "network": network })
}

fn text(server: &ServerSnapshot, addresses: Addresses) -> String {
    let network = server.network.as_ref();
    let mut text = format!("{}: {}\n", harmless(&server.name), netcode_text(network));
    let Some(network) = network else { return text };
    if network.loss_up_ratio.is_some() || network.loss_down_ratio.is_some() {
        let percent = |ratio: Option<f64>| match ratio {
            Some(ratio) => format!("{} %", number(Some(ratio * 100.0), 2)),
            None => "not told".to_owned(),
        };
        text += &format!(
            "lost to the server {}, to the players {}\n",
            percent(network.loss_up_ratio),
            percent(network.loss_down_ratio)
        );
    }
    let mut columns = vec![TextColumn::words("PLAYER", Room::Free(24))];
    columns.extend(LINE_HEADINGS.map(|heading| TextColumn::figures(heading, Room::Needed)));
    let several_ports = network.ports.len() > 1;
    if several_ports {
        columns.push(TextColumn::figures("PORT", Room::Needed));
    }
    if addresses == Addresses::Shown {
        columns.push(TextColumn::words("ADDRESS", Room::Needed));
    }
    let rows: Vec<Vec<String>> = named_lines(server)
        .into_iter()
        .map(|(name, line)| {
            let mut row = vec![name];
            row.extend(line_cells(&line.line));
            if several_ports {
                row.push(number(line.port.map(f64::from), 0));
            }
            if addresses == Addresses::Shown {
                row.push(line.remote.to_string());
            }
            row
        })
        .collect();
    if !rows.is_empty() {
        text += &table(&columns, &rows, LINE);
    }
    text
}
