//! sid-testkit
