//! sid-cli
