//! Whom an agent speaks with, as the API names them.

use sid_types::AgentMatch;

use super::names::{Names, check_name};
use crate::App;
use crate::error::ApiError;

/// Most entries of `colleagues` and of `trusts`.
const MOST_MEANT: usize = 100;

/// Agents as the API names them: by id or name, by team, by tag. What is not there is refused, not kept.
pub(super) async fn meant(app: &App, names: &Names<'_>, what: &str, wanted: Vec<String>) -> Result<Vec<AgentMatch>, ApiError> {
    if wanted.len() > MOST_MEANT {
        return Err(ApiError::bad_request(format!("`{what}` has at most {MOST_MEANT} entries")));
    }
    let mut meant = Vec::with_capacity(wanted.len());
    for text in wanted {
        let one = match (text.strip_prefix("team:"), text.strip_prefix("tag:")) {
            (Some(team), _) => AgentMatch::Team(names.team(team).await?),
            (_, Some(tag)) => {
                check_name(what, tag, 64)?;
                AgentMatch::Tag(tag.to_owned())
            }
            _ if text.starts_with("team_") => AgentMatch::Team(names.team(&text).await?),
            _ => AgentMatch::Agent(names.agent(&text).await?),
        };
        match &one {
            AgentMatch::Agent(id) => drop(app.store().agent(names.scope(), *id).await?),
            AgentMatch::Team(id) => drop(app.store().team(names.scope(), *id).await?),
            AgentMatch::Tag(_) => {}
        }
        if !meant.contains(&one) {
            meant.push(one);
        }
    }
    Ok(meant)
}
