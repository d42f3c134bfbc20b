//! `sid drive`: a person's Google Drive, with --user.

use clap::Subcommand;
use serde_json::json;

use crate::client::Request;
use crate::error::CliError;
use crate::output::text::printable;
use crate::session::Session;

/// A person's Google Drive.
#[derive(Debug, Subcommand)]
pub enum Drive {
    /// Whether it is connected
    Status,
    /// Connect it: shows Google's page; open it in a browser, say yes, then `sid drive finish` with the address that the browser ended at
    Connect,
    /// End what `connect` began
    Finish {
        /// The address that the browser was sent back to
        address: String,
    },
    /// Take the yes back, here and at Google
    Disconnect,
    /// Search it
    Search {
        /// Words of a file's name or text
        #[arg(required = true)]
        words: Vec<String>,
    },
    /// Keep a file as a document of the user
    Import {
        /// The file's id (`sid drive search` shows it)
        file: String,
    },
}

pub(crate) async fn run(command: Drive, session: &Session) -> Result<(), CliError> {
    let client = session.client().await?;
    let (request, told) = match command {
        Drive::Status => (Request::get(&["drive"]), None),
        Drive::Connect => (Request::post(&["drive", "connect"]).json(json!({})), None),
        Drive::Finish { address } => {
            let (state, code) = returned(&address)?;
            (Request::post(&["drive", "callback"]).json(json!({"state": state, "code": code})), Some("connected"))
        }
        Drive::Disconnect => (Request::delete(&["drive"]), Some("disconnected")),
        Drive::Search { words } => (Request::post(&["drive", "search"]).json(json!({"query": words.join(" ")})), None),
        Drive::Import { file } => (Request::post(&["drive", "import"]).json(json!({"file": file})), None),
    };
    if let Some(told) = told {
        client.send(request).await?;
        return if session.out.json { session.out.value(&json!({"outcome": told})) } else { session.out.line(told) };
    }
    let answer = client.value(request).await?;
    if session.out.json {
        return session.out.value(&answer);
    }
    let text = |value: &serde_json::Value| printable(value.as_str().unwrap_or_default());
    if let Some(url) = answer["authorization_url"].as_str() {
        return session.out.line(&printable(url));
    }
    if let Some(connected) = answer["connected"].as_bool() {
        return session.out.line(match (answer["available"].as_bool(), connected) {
            (_, true) => "connected",
            (Some(false), _) => "not set up on this server",
            _ => "not connected: sid drive connect",
        });
    }
    if let Some(files) = answer["files"].as_array() {
        for file in files {
            session.out.line(&format!("{}  {}  {}", text(&file["id"]), text(&file["name"]), text(&file["media_type"])))?;
        }
        return Ok(());
    }
    session.out.line(&format!("{} is being read: sid documents show {}", text(&answer["title"]), text(&answer["id"])))
}

/// `state` and `code` of the address that Google has sent the browser to.
fn returned(address: &str) -> Result<(String, String), CliError> {
    let odd = |what: &str| {
        CliError::Usage(format!("the address {what}: copy all of it from the browser, with what stands behind the question mark"))
    };
    let url: reqwest::Url = address.trim().parse().map_err(|_| odd("is none"))?;
    let value = |name: &str| url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    if let Some(error) = value("error") {
        return Err(CliError::Usage(format!("Google says: {}", printable(&error))));
    }
    Ok((value("state").ok_or_else(|| odd("has no `state`"))?, value("code").ok_or_else(|| odd("has no `code`"))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_tells_state_and_code() {
        let found = returned("https://app.example/back?state=a%2Bb&code=4%2Fx&scope=y").expect("both are there");
        assert_eq!(found, ("a+b".to_owned(), "4/x".to_owned()));
        for (address, why) in
            [("nonsense", "is none"), ("https://a/b?code=1", "`state`"), ("https://a/b?error=access_denied", "access_denied")]
        {
            let CliError::Usage(error) = returned(address).expect_err(address) else { panic!("{address} is no fault of use") };
            assert!(error.contains(why), "{error}");
        }
    }
}
