#![doc = include_str!("../README.md")]
#![warn(missing_docs)]

mod discovery;
mod http;
mod login;
mod oauth;
mod outcome;
mod question;
mod server;
mod session;
mod stdio;
mod tool;

pub use discovery::RemoteTool;
pub use login::{Authorization, Login, NoToken};
pub use oauth::ClientCredentials;
pub use server::{Found, Limits, McpServer};
pub use stdio::{Program, launch_if_asked};
pub use tool::{McpAnswer, McpTool, function_name};
