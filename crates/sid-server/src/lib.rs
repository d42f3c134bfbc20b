//! sid-server
