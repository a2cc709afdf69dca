//! `gsmon privacy show|export|forget PLAYER`: works on the files, with or without a running agent.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use super::{Failure, Outcome, StateArg, print_json, unix_ms};
use crate::{
    config::Config,
    privacy::{Archive, Disclosed, DisclosedValue, Erased, Matches, PseudonymKey, Selector, StoredIdentity},
    top::harmless::harmless,
};

#[derive(Debug, clap::Args)]
pub struct PrivacyArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Show what is stored about a player.
    Show(PlayerArgs),
    /// Print everything on disk that has to do with a player, as one JSON document.
    Export(PlayerArgs),
    /// Remove a player from the store, and list their pseudonyms as forgotten.
    Forget {
        #[command(flatten)]
        player: PlayerArgs,
        /// Several identities may match, as two players may have one name: forget all of them.
        #[arg(long)]
        all: bool,
    },
}

#[derive(Debug, clap::Args)]
struct PlayerArgs {
    /// Name, platform id, address or pseudonym.
    player: String,
    /// One JSON document (export is one anyway).
    #[arg(long)]
    json: bool,
    /// Key that the agents of a fleet share, so that players are found and forgotten under their pseudonyms of the fleet as
    /// well [default: that of [api.remote] in /etc/gsmon.toml, where there is one].
    #[arg(long, value_name = "FILE")]
    shared_key: Option<PathBuf>,
    #[command(flatten)]
    state: StateArg,
}

impl PlayerArgs {
    fn archive(&self) -> Result<Archive, Failure> {
        let directory = &self.state.state_dir;
        if !directory.is_dir() {
            return Err(Failure::Usage(anyhow::Error::new(NoDirectory(directory.clone()))));
        }
        let archive = Archive::new(directory);
        Ok(match self.shared_key_file()? {
            Some(file) => archive.with_shared(PseudonymKey::read_shared(&file)?),
            None => archive,
        })
    }

    fn shared_key_file(&self) -> Result<Option<PathBuf>, Failure> {
        if self.shared_key.is_some() {
            return Ok(self.shared_key.clone());
        }
        let usual = Path::new(super::run::DEFAULT_CONFIG);
        if !usual.exists() {
            return Ok(None);
        }
        let config = Config::read(usual).map_err(|error| Failure::Usage(error.into()))?;
        Ok(config.api.remote.and_then(|remote| remote.shared_key_file))
    }
}

/// The agent has never kept anything there.
#[derive(Debug, thiserror::Error)]
#[error("there is no directory {0}: name the agent's with --state-dir")]
struct NoDirectory(PathBuf);

pub fn run(args: &PrivacyArgs) -> Outcome {
    match &args.action {
        Action::Show(args) => show(args)?,
        Action::Export(args) => {
            let export = args.archive()?.export(&Selector::new(&args.player), unix_ms())?;
            print_json(&export)?;
        }
        Action::Forget { player, all } => {
            let matches = if *all { Matches::All } else { Matches::One };
            let selector = Selector::new(&player.player);
            let erased = player.archive()?.forget(&selector, matches, unix_ms())?;
            if player.json {
                print_json(&erased)?;
            } else {
                print!("{}", erased_text(&erased));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn show(args: &PlayerArgs) -> Result<(), Failure> {
    let found = args.archive()?.show(&Selector::new(&args.player))?;
    let disclosed: Vec<Disclosed> = found.iter().map(StoredIdentity::disclose).collect();
    if args.json {
        return print_json(&disclosed);
    }
    if disclosed.is_empty() {
        println!("nothing is stored about this player");
    }
    for identity in &disclosed {
        print!("{}", identity_text(identity));
    }
    Ok(())
}

fn identity_text(identity: &Disclosed) -> String {
    let mut text = format!(
        "{}\n  seen       {} to {}\n",
        identity.pseudonym, identity.first_seen, identity.last_seen
    );
    for (title, values) in [
        ("name", &identity.names),
        ("id", &identity.ids),
        ("address", &identity.addresses),
    ] {
        for DisclosedValue {
            value,
            first_seen,
            last_seen,
        } in values
        {
            let value = harmless(value);
            text += &format!("  {title:<10} {value}  ({first_seen} to {last_seen})\n");
        }
    }
    text
}

fn erased_text(erased: &Erased) -> String {
    let mut text = match erased.identities_removed.len() {
        0 => "nothing was stored about this player\n".to_owned(),
        1 => "removed 1 identity\n".to_owned(),
        count => format!("removed {count} identities\n"),
    };
    if erased.pseudonyms_forgotten.is_empty() {
        text += "there is no key, so that no pseudonym was ever made\n";
    } else {
        text += "forgotten from now on:\n";
        for pseudonym in &erased.pseudonyms_forgotten {
            text += &format!("  {pseudonym}\n");
        }
        if !erased.of_the_fleet.is_empty() {
            text += "the same on every host of the fleet, to be forgotten there too:\n";
            for pseudonym in &erased.of_the_fleet {
                text += &format!("  gsmon privacy forget {pseudonym}\n");
            }
        }
        text += "what the agent has written under them goes within a minute, or when it is started next\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_drive_the_terminal() {
        let time = "2031-05-06T07:08:09.000Z".to_owned();
        let identity = Disclosed {
            pseudonym: "p-00000000000000000000".parse().unwrap(),
            first_seen: time.clone(),
            last_seen: time.clone(),
            names: vec![DisclosedValue {
                value: "\u{1b}[2Jx\n".into(),
                first_seen: time.clone(),
                last_seen: time,
            }],
            ids: Vec::new(),
            addresses: Vec::new(),
        };
        let text = identity_text(&identity);
        assert!(
            text.contains("\\u{1b}[2Jx\\n") && !text.contains('\u{1b}'),
            "{text}"
        );
        assert_eq!(text.lines().count(), 3);
    }

    #[test]
    fn nothing_found_is_said() {
        let text = erased_text(&Erased {
            identities_removed: Vec::new(),
            pseudonyms_forgotten: Vec::new(),
            of_the_fleet: Vec::new(),
        });
        assert!(
            text.contains("nothing was stored") && text.contains("no key"),
            "{text}"
        );
    }
}
