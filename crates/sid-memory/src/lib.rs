//! sid-memory
