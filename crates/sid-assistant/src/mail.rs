//! E-mail by SMTP.

use std::time::Duration;

use async_trait::async_trait;
use lettre::message::header::ContentType;
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};
use serde_json::{Map, Value, json};
use sid_tools::http::{Connection, Headers};
use sid_tools::{Declaration, EffectClass, Tool, ToolContext, ToolOutcome};
use sid_types::ToolSpec;

/// The protocol's ports; an operator opens others.
const PORTS: [u16; 4] = [25, 465, 587, 2525];
/// Recipients of one message.
const MOST_RECIPIENTS: usize = 10;
/// Bytes of a message's text.
const MOST_TEXT: usize = 100_000;
/// Bytes of a subject.
const MOST_SUBJECT: usize = 500;

/// How a connection is kept from others' eyes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MailSecurity {
    /// TLS after the greeting (port 587). Without it nothing is sent.
    #[default]
    StartTls,
    /// TLS from the start (port 465).
    Tls,
    /// None. Not with a password.
    None,
}

/// Where mail goes out, and to whom it may go.
#[derive(Debug, Clone, Default)]
pub struct MailAccount {
    /// The server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How it is spoken to.
    pub security: MailSecurity,
    /// Who logs in; nobody without.
    pub username: Option<String>,
    /// The name of the secret to log in with.
    pub password: Option<String>,
    /// Whose mail it is: `sid@example.com` or `Sid <sid@example.com>`.
    pub from: String,
    /// Who may get mail: addresses, `*@example.com`, `*` for anybody.
    pub recipients: Vec<String>,
}

/// Sends one message, at most once.
pub struct SendEmail {
    name: String,
    account: MailAccount,
    from: Mailbox,
    connection: Connection,
}

impl SendEmail {
    /// The tool under this name. The connection has the client, whose policy says where it may connect, and the secrets.
    ///
    /// Errors: what does not fit, in words for who set it up.
    pub fn new(name: &str, account: MailAccount, connection: Connection) -> Result<Self, String> {
        let from: Mailbox = account.from.parse().map_err(|e| format!("`from` is no address: {e}"))?;
        if account.security == MailSecurity::None && account.password.is_some() {
            return Err("a password is not sent without TLS: `security` must be `starttls` or `tls`".into());
        }
        if account.username.is_some() != account.password.is_some() {
            return Err("a `username` and a `password` go together".into());
        }
        if account.recipients.is_empty() {
            return Err("`recipients` says who may get mail: addresses, `*@example.com`, or `*`".into());
        }
        Ok(Self { name: name.to_owned(), account, from, connection })
    }

    fn may_get(&self, address: &str) -> bool {
        let address = address.to_ascii_lowercase();
        self.account.recipients.iter().any(|allowed| {
            let allowed = allowed.trim().to_ascii_lowercase();
            match allowed.strip_prefix('*') {
                Some("") => true,
                Some(domain) => domain.starts_with('@') && address.ends_with(&domain),
                None => address == allowed,
            }
        })
    }

    /// Errors: what does not fit, in words for the model.
    fn message(&self, context: &ToolContext, arguments: &Map<String, Value>) -> Result<Message, String> {
        let text = |key: &str| arguments.get(key).and_then(Value::as_str).unwrap_or_default();
        let (subject, body) = (text("subject"), text("text"));
        if subject.len() > MOST_SUBJECT || subject.chars().any(char::is_control) {
            return Err(format!("The subject must be one line of at most {MOST_SUBJECT} bytes."));
        }
        if body.is_empty() || body.len() > MOST_TEXT {
            return Err(format!("The text must have 1 to {MOST_TEXT} bytes."));
        }
        let to: Vec<&str> = arguments.get("to").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        if to.is_empty() || to.len() > MOST_RECIPIENTS {
            return Err(format!("`to` must have 1 to {MOST_RECIPIENTS} addresses."));
        }
        let domain = self.from.email.domain();
        // The call's own: servers that see one message twice know it by this.
        let mut message =
            Message::builder().from(self.from.clone()).subject(subject).message_id(Some(format!("<{}@{domain}>", context.token)));
        for address in to {
            let mailbox: Mailbox = address.parse().map_err(|_| format!("`{address}` is no e-mail address."))?;
            if address.chars().any(char::is_control) || !self.may_get(mailbox.email.as_ref()) {
                return Err(format!("Mail may not go to {:?}: only to {}.", mailbox.email.to_string(), self.account.recipients.join(", ")));
            }
            message = message.to(mailbox);
        }
        message.date_now().header(ContentType::TEXT_PLAIN).body(body.to_owned()).map_err(|e| format!("This is no message: {e}."))
    }

    /// Errors: it was not sent, in words for the model.
    async fn transport(&self, context: &ToolContext, hidden: &mut Headers) -> Result<AsyncSmtpTransport<Tokio1Executor>, String> {
        let MailAccount { host, port, security, username, password, .. } = &self.account;
        let addresses = self.connection.fetcher().addresses(host, *port, &PORTS).await.map_err(|e| format!("It was not sent: {e}."))?;
        let address = addresses.first().ok_or("It was not sent: the mail server has no address.")?;
        let parameters = || TlsParameters::new(host.clone()).map_err(|e| format!("It was not sent: {e}."));
        let tls = match security {
            MailSecurity::StartTls => Tls::Required(parameters()?),
            MailSecurity::Tls => Tls::Wrapper(parameters()?),
            MailSecurity::None => Tls::None,
        };
        // The address that was checked; the certificate is the name's.
        let transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(address.ip().to_string()).port(*port).tls(tls);
        let mut transport = transport.timeout(Some(self.connection.timeout()));
        if let (Some(username), Some(password)) = (username, password) {
            let secret = self.connection.secret(context, password).await?;
            transport = transport.credentials(Credentials::new(username.clone(), secret.reveal().to_owned()));
            hidden.put_secret("", "", password, secret);
        }
        Ok(transport.build())
    }
}

#[async_trait]
impl Tool for SendEmail {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: self.name.clone(),
            description: format!("Send an e-mail from {}. It may go to: {}.", self.from.email, self.account.recipients.join(", ")),
            parameters: json!({
                "type": "object",
                "properties": {
                    "to": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": MOST_RECIPIENTS, "description": "Addresses"},
                    "subject": {"type": "string", "description": "One line"},
                    "text": {"type": "string", "description": "The message, as plain text"}
                },
                "required": ["to", "subject", "text"],
                "additionalProperties": false
            }),
        }
    }

    fn declaration(&self) -> Declaration {
        Declaration {
            timeout: self.connection.timeout() * 3 + Duration::from_secs(1),
            secrets: self.account.password.iter().cloned().collect(),
            hosts: vec![self.account.host.clone()],
            ..Declaration::new(EffectClass::External { idempotent: false })
        }
    }

    async fn call(&self, context: &ToolContext, arguments: Map<String, Value>) -> ToolOutcome {
        let message = match self.message(context, &arguments) {
            Ok(message) => message,
            Err(problem) => return ToolOutcome::error(format!("It was not sent. {problem}")),
        };
        let mut hidden = Headers::default();
        let transport = match self.transport(context, &mut hidden).await {
            Ok(transport) => transport,
            Err(problem) => return ToolOutcome::error(problem),
        };
        // Longer than the parts of it: the server may take its time for each.
        let sent = tokio::time::timeout(self.connection.timeout() * 3, transport.send(message)).await;
        match sent {
            Ok(Ok(_)) => ToolOutcome::text("Sent: the mail server has taken it."),
            Ok(Err(error)) if error.is_permanent() => {
                ToolOutcome::error(hidden.hide(format!("It was not sent: the mail server refuses it ({error}).")))
            }
            Ok(Err(error)) if error.is_transient() => {
                ToolOutcome::error(hidden.hide(format!("It was not sent: the mail server does not take it now ({error}).")))
            }
            Ok(Err(error)) => ToolOutcome::error(
                hidden.hide(format!("It is not known whether it was sent ({error}). Do not send it again without asking the user.")),
            ),
            Err(_) => ToolOutcome::error(
                "It is not known whether it was sent: the mail server took too long. Do not send it again without asking the user.",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use sid_fetch::{Fetcher, Policy};

    use super::*;

    fn account(recipients: &[&str]) -> MailAccount {
        MailAccount {
            host: "127.0.0.1".into(),
            port: 25,
            security: MailSecurity::None,
            from: "Sid <sid@sid.example>".into(),
            recipients: recipients.iter().map(ToString::to_string).collect(),
            ..MailAccount::default()
        }
    }

    fn tool(recipients: &[&str]) -> SendEmail {
        let connection = Connection::new(Fetcher::new(Policy::default()).expect("a client"));
        SendEmail::new("send_email", account(recipients), connection).expect("an account")
    }

    fn context() -> ToolContext {
        ToolContext::detached(sid_types::Timestamp::UNIX_EPOCH)
    }

    fn made(tool: &SendEmail, to: &str, subject: &str) -> Result<String, String> {
        let arguments = json!({"to": [to], "subject": subject, "text": "Hello."});
        let message = tool.message(&context(), arguments.as_object().expect("an object"))?;
        Ok(String::from_utf8_lossy(&message.formatted()).into_owned())
    }

    #[test]
    fn only_those_get_mail_who_may() {
        let tool = tool(&["*@corp.example", "ann@home.example"]);
        for to in ["bob@corp.example", "BOB@CORP.EXAMPLE", "ann@home.example", "Bob <bob@corp.example>"] {
            assert!(made(&tool, to, "Hi").is_ok(), "{to}");
        }
        for to in ["bob@evil.example", "bob@notcorp.example", "bob@corp.example.evil.example", "bob@home.example", "", "no address"] {
            assert!(made(&tool, to, "Hi").is_err(), "{to}");
        }
        assert!(made(&super::tests::tool(&["*"]), "anybody@evil.example", "Hi").is_ok());
    }

    #[test]
    fn nothing_gets_into_the_headers() {
        let tool = tool(&["*"]);
        for (to, subject) in [
            ("a@x.example", "Hi\r\nBcc: b@x.example"),
            ("a@x.example", "Hi\nBcc: b@x.example"),
            ("a@x.example\r\nBcc: b@x.example", "Hi"),
            ("a@x.example, b@x.example", "Hi"),
            ("A\r\nBcc: b@x.example <a@x.example>", "Hi"),
        ] {
            let made = made(&tool, to, subject);
            assert!(made.is_err(), "{to:?} {subject:?}: {made:?}");
        }
        let text = made(&tool, "a@x.example", "Größe: 42").expect("a message");
        assert!(text.contains("Message-ID: <") && text.contains("@sid.example>") && !text.contains("Größe"), "{text}");
    }

    #[test]
    fn a_password_does_not_go_without_tls() {
        let connection = Connection::new(Fetcher::new(Policy::default()).expect("a client"));
        let bad = MailAccount { username: Some("sid".into()), password: Some("MAIL".into()), ..account(&["*"]) };
        assert!(SendEmail::new("m", bad, connection.clone()).err().expect("refused").contains("without TLS"));
        assert!(SendEmail::new("m", account(&[]), connection).err().expect("refused").contains("recipients"));
    }

    #[tokio::test]
    async fn a_mail_server_inside_is_not_connected_to() {
        let arguments = json!({"to": ["a@x.example"], "subject": "Hi", "text": "Hello."});
        let outcome = tool(&["*"]).call(&context(), arguments.as_object().cloned().expect("an object")).await;
        assert!(outcome.is_error && outcome.text.contains("no address on the internet that is open"), "{outcome:?}");
    }
}
