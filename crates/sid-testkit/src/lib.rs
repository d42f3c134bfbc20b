//! What tests of Sid and of its backends stand on: conformance suites, the scripted model and the fault-injecting model server.
#![warn(missing_docs)]

pub mod conformance;
pub mod model_server;
