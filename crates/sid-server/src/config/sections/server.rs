//! The server itself and its log.

use crate::config::setting::{choice, section};

choice! {
    /// How log lines look.
    LogFormat: "\"text\" or \"json\"" {
        /// For people.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }
}

section! {
    /// Options above all sections.
    Top {
        /// The model of agents that name none. Empty: the model called `default`, else the first by name.
        default_model: String = String::new();
    }
}

section! {
    /// The HTTP server.
    Server {
        /// Address and port to listen on. Port 0 takes a free one.
        listen: String = "127.0.0.1:8700".into();
        /// Largest request body, in bytes.
        body_limit_bytes: usize = 4 * 1024 * 1024;
        /// Most runs that wait in one conversation; the next message is answered 429.
        queue_depth: usize = 256;
        /// Most runs at once in this process; the next message is answered 503.
        max_runs: usize = 512;
        /// Most requests at once in this process, streams included; the next one is answered 503. 0 = no limit.
        max_requests: usize = 4_096;
        /// Requests per second of one API key, with bursts of twice as many; more is answered 429. 0 = no limit.
        rate_limit_per_second: u32 = 0;
        /// How long a request may wait for its run before it is answered 202 with the run as it is, in milliseconds.
        wait_limit_ms: u64 = 630_000;
        /// How long `/health/ready` says no before the server stops taking requests, in milliseconds: time for a load balancer.
        drain_delay_ms: u64 = 0;
        /// How long running steps may go on after SIGTERM, in milliseconds. What is not done then is resumed at the next start.
        drain_timeout_ms: u64 = 25_000;
        /// Whether `/metrics` needs no key from other machines too. From this machine it never does.
        public_metrics: bool = false;
        /// Whether each request is logged with its status and duration.
        log_requests: bool = true;
        /// How clients reach this server, such as `https://sid.example.org`: what it calls itself to those who look for a token. Not set: `http://` and the request's host.
        public_url: Option<String> = None;
    }
}

section! {
    /// The log, on standard error.
    Log {
        /// How lines look.
        format: LogFormat = LogFormat::Text;
        /// What is logged, such as `info` or `info,sid_core=debug`.
        filter: String = "info,sqlx=warn,hyper=warn,h2=warn,ort=warn".into();
    }
}
