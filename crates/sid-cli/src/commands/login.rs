//! `sid tools login`: a person logs in to a toolset's server, in a browser.

use std::io::IsTerminal as _;

use serde_json::json;

use crate::client::Request;
use crate::error::CliError;
use crate::output::text::{moment, printable};
use crate::session::Session;
use crate::wire;

pub(crate) async fn run(name: &str, code: Option<String>, status: bool, session: &Session) -> Result<(), CliError> {
    let told = |login: wire::Login| {
        let at = login.issuer.map(|issuer| format!(" at {}", printable(&issuer))).unwrap_or_default();
        match login.state.as_str() {
            "logged_in" => format!("logged in{at}\n"),
            "none" => format!("not logged in; sid tools login {name}\n"),
            "waiting" => format!("a login{at} waits for the browser\n"),
            "unconfirmed" => format!("the browser is back: sid tools login {name} --code CODE\n"),
            _ => format!("the login{at} has ended; sid tools login {name}\n"),
        }
    };
    if status {
        return session.ask(Request::get(&["tools", name, "login"]), "the login", told).await;
    }
    let confirm = |code: String| Request::post(&["tools", name, "login", "confirm"]).json(json!({"code": code.trim()}));
    if let Some(code) = code {
        return session.ask(confirm(code), "the login", told).await;
    }
    let begun: wire::LoginBegun =
        crate::client::read(session.client().await?.value(Request::post(&["tools", name, "login"])).await?, "a login")?;
    if session.out.json {
        return session.out.value(&json!({"url": begun.url, "expires_at": begun.expires_at}));
    }
    session.out.line(&format!("Open this in a browser, until {}:\n\n{}\n", moment(&begun.expires_at), printable(&begun.url)))?;
    if !std::io::stdin().is_terminal() {
        return session.out.line(&format!("Then: sid tools login {name} --code CODE"));
    }
    session.out.line("The code that the browser shows at the end:")?;
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).map_err(|e| CliError::output(&e))?;
    session.ask(confirm(line), "the login", told).await
}

pub(crate) async fn forget(name: &str, session: &Session) -> Result<(), CliError> {
    session.client().await?.send(Request::delete(&["tools", name, "login"])).await?;
    if session.out.json {
        return session.out.value(&json!({"name": name, "forgotten": true}));
    }
    session.out.line(&format!("the login of {name} is forgotten here; take back what was granted at the server itself"))
}
