//! What can go wrong, by what the caller can do about it.

use std::time::Duration;

/// A fetch that came to nothing. Its text may be shown to whoever named the URL: it tells nothing about the network.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The text is not a URL.
    #[error("this is not a URL: {problem}")]
    BadUrl {
        /// Why.
        problem: String,
    },
    /// The policy says no; the same request will be refused again.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// The host did not take the connection, or its certificate is not good.
    #[error("{host} cannot be reached: it does not take connections, or its certificate is not good")]
    Unreachable {
        /// As it stands in the URL.
        host: String,
        /// For the log, not for strangers.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The time was up.
    #[error("there was no whole answer within {:.1} s", .limit.as_secs_f32())]
    Timeout {
        /// For all hops together.
        limit: Duration,
    },
    /// The answer, or what it unpacks to, is larger than allowed.
    #[error("the answer is larger than {limit_bytes} bytes")]
    TooLarge {
        /// The limit.
        limit_bytes: usize,
    },
    /// The answer broke off or makes no sense.
    #[error("the answer broke off or cannot be read: {problem}")]
    Interrupted {
        /// How.
        problem: String,
    },
    /// The client cannot be built.
    #[error("HTTP cannot be set up: {0}")]
    SetUp(String),
}

/// Why a policy says no.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Neither http nor https, or http where only https will do.
    #[error("scheme `{0}` is refused: use {1}")]
    Scheme(String, &'static str),
    /// A user name or password in the URL.
    #[error("a user name or password in a URL is refused: send credentials in a header")]
    Userinfo,
    /// A port that is not open.
    #[error("port {0} is refused: use 80 or 443, or ask an operator to open it")]
    Port(u16),
    /// Not one of the hosts that this request may go to.
    #[error("host `{0}` is refused: this may only call the hosts that it declares")]
    Undeclared(String),
    /// The host has an address that is not on the internet, or none at all: strangers are not told which.
    #[error("host `{host}` is refused: it has no address on the internet that is open; only an operator can open others")]
    NoPublicAddress {
        /// As it stands in the URL.
        host: String,
        /// Whether the look-up itself failed, and may succeed later. Not in the text.
        is_unresolved: bool,
    },
    /// A metadata service by its name or address.
    #[error("host `{0}` is refused: it is a metadata service, which nobody can open")]
    Metadata(String),
    /// A header that the client sets itself.
    #[error("header `{0}` is refused: the client sets it itself")]
    Header(String),
    /// A redirect that is not followed.
    #[error("a redirect is refused: {0}")]
    Redirect(&'static str),
}

impl FetchError {
    /// Whether the same request may succeed a little later.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. }
                | Self::Timeout { .. }
                | Self::Interrupted { .. }
                | Self::Refused(Refusal::NoPublicAddress { is_unresolved: true, .. })
        )
    }

    /// The stable code, with a page in `docs/errors/`.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::BadUrl { .. } => "SID-FETCH-BAD-URL",
            Self::Refused(_) => "SID-FETCH-REFUSED",
            Self::Unreachable { .. } => "SID-FETCH-UNREACHABLE",
            Self::Timeout { .. } => "SID-FETCH-TIMEOUT",
            Self::TooLarge { .. } => "SID-FETCH-TOO-LARGE",
            Self::Interrupted { .. } => "SID-FETCH-INTERRUPTED",
            Self::SetUp(_) => "SID-FETCH-SET-UP",
        }
    }
}
